# The API of policy.yaml in Rails.

require 'logger'
require 'action_controller/railtie'

class Api < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.hosts.clear
  config.secret_key_base = 'nothing is signed here'
  config.logger = Logger.new(nil)
end

class ApiController < ActionController::API
  def run
    route, values = request.path_parameters.values_at(:route, nil).first, request.path_parameters.except(:controller, :action, :route, :format)
    render json: {
      route: route,
      method: request.request_method,
      path: Rack::Utils.unescape_path(request.original_fullpath[/[^?]*/]),
      query: request.query_string,
      values: values,
      tenant: params[:tenant],
      q: params[:q],
      org: request.headers['X-Org'],
      agent: request.headers['X-Callgate-Agent']
    }
  end
end

Api.initialize!
Api.routes.draw do
  # Without a constraint a variable ends at the first dot.
  any = { id: %r{[^/]+}, name: %r{[^/]+}, key: %r{[^/]+}, path: %r{.+} }
  route = ->(name, method, path) { match path, to: 'api#run', via: method, defaults: { route: name }, constraints: any.select { |key| path.match?(/[:*]#{key}/) } }
  route.call('admin.list', :get, 'admin')
  route.call('users.settings', :get, 'users/settings')
  route.call('users.get', :get, 'users/:id')
  route.call('users.update', :post, 'users/:id')
  route.call('users.delete', :delete, 'users/:id')
  route.call('items.list', :get, 'items')
  route.call('items.create', :post, 'items')
  route.call('org.get', :get, 'org')
  route.call('names.get', :get, 'names/:name')
  route.call('blob.raw', :get, 'blob/:key/raw')
  route.call('blob.get', :get, 'blob/:key')
  route.call('docs.get', :get, 'docs/:name')
  route.call('files.list', :get, 'files')
  route.call('files.locked', :get, 'files/locked')
  route.call('files.get', :get, 'files/*path')
  route.call('search', :get, 'search')
  # Requests that no policy of this folder knows, such as those of the corpus.
  match '*unknown', to: 'api#run', via: :all, defaults: { route: nil }
end

run Api
