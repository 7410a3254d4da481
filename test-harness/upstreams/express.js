// The API of policy.yaml in Express: each route answers with what Express made of the request.

const express = require('express');

const app = express();
app.set('etag', false);
app.use(express.urlencoded({ extended: true }));

const answer = (route) => (request, response) => {
  const raw = request.url.indexOf('?');
  let path = request.path;
  try { path = decodeURIComponent(path); } catch { /* As it was sent. */ }
  response.json({
    route,
    method: request.method,
    path,
    query: raw < 0 ? '' : request.url.slice(raw + 1),
    values: request.params,
    tenant: request.query.tenant,
    q: request.query.q,
    org: request.get('x-org'),
    agent: request.get('x-callgate-agent'),
  });
};

app.get('/admin', answer('admin.list'));
app.get('/users/settings', answer('users.settings'));
app.get('/users/:id', answer('users.get'));
app.post('/users/:id', answer('users.update'));
app.delete('/users/:id', answer('users.delete'));
app.get('/items', answer('items.list'));
app.post('/items', answer('items.create'));
app.get('/org', answer('org.get'));
app.get('/names/:name', answer('names.get'));
app.get('/blob/:key', answer('blob.get'));
app.get('/blob/:key/raw', answer('blob.raw'));
app.get('/docs/:name', answer('docs.get'));
app.get('/files', answer('files.list'));
app.get('/files/locked', answer('files.locked'));
app.get('/files/:path(.*)', answer('files.get'));
app.get('/search', answer('search'));
// Requests that no policy of this folder knows, such as those of the corpus.
app.use(answer(null));

app.listen(Number(process.argv[2]), '127.0.0.1');
