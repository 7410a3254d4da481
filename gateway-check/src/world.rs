//! Identifies each document in the files, and indexes the parts that refer to each other by name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::finding::Code;
use super::report::Report;
use super::view::View;
use callgate_kit::document::Document;

/// Everything that was identified in all files.
#[derive(Debug, Default)]
pub(super) struct World<'a> {
    pub(super) bootstraps: Vec<View<'a>>,
    pub(super) listeners: Vec<View<'a>>,
    /// Filters that are not part of a listener, as `callgate render` prints them.
    pub(super) fragments: Vec<View<'a>>,
    pub(super) clusters: Vec<View<'a>>,
    /// Route configurations by name (RDS).
    pub(super) routes: Named<'a>,
    /// Scoped route configurations (SRDS).
    pub(super) scopes: Vec<View<'a>>,
    /// Virtual hosts by name, in the form `ROUTE_CONFIGURATION/NAME` (VHDS).
    pub(super) hosts: Named<'a>,
    /// Extensions by name (ECDS).
    pub(super) extensions: Named<'a>,
    pub(super) objects: Vec<Object<'a>>,
    pub(super) kongs: Vec<View<'a>>,
    /// Whether a discovery response contained listeners.
    pub(super) discovered_listeners: bool,
}

/// Parts by name. If several files contain the same name, all of its parts are checked.
pub(super) type Named<'a> = BTreeMap<&'a str, Vec<View<'a>>>;

/// A Kubernetes resource.
#[derive(Debug, Clone)]
pub(super) struct Object<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) view: View<'a>,
}

impl<'a> World<'a> {
    pub(super) fn of(documents: &'a [Document], report: &mut Report) -> Self {
        let mut world = Self::default();
        for document in documents {
            world.document(&View::root(document), report);
        }
        world
    }

    fn document(&mut self, view: &View<'a>, report: &mut Report) {
        if let Value::Array(_) = view.value {
            // A list of filters, as `callgate render` prints one.
            if view.items().iter().all(|item| item.get("typed_config").is_some()) {
                return self.fragments.extend(view.items());
            }
            return view.items().iter().for_each(|item| self.document(item, report));
        }
        if view.get("api_version").is_some() && view.get("kind").is_some() {
            reads_every_field(view, report);
            return self.object(view);
        }
        if view.value.get("_format_version").is_some() {
            reads_every_field(view, report);
            return self.kongs.push(view.clone());
        }
        if let Some(twice) = view.spelled_twice() {
            report.add(
                Code::NotUnderstood,
                &twice,
                "this field is present in both spellings, and a reader may use either; remove one".to_owned(),
            );
        }
        self.envoy(view, report);
    }

    fn object(&mut self, view: &View<'a>) {
        if view.text("kind") == Some("List") {
            return view.each("items").iter().for_each(|item| self.object(item));
        }
        self.clusters.extend(added_clusters(view));
        let version = view.text("api_version").unwrap_or_default();
        self.objects.push(Object {
            group: version.split_once('/').map_or("", |(group, _)| group),
            kind: view.text("kind").unwrap_or_default(),
            name: view.text("metadata.name").unwrap_or_default(),
            namespace: view.text("metadata.namespace").unwrap_or_default(),
            view: view.clone(),
        });
    }

    fn envoy(&mut self, view: &View<'a>, report: &mut Report) {
        let (name, content) = view.open();
        let message = name.rsplit('.').next().unwrap_or_default();
        let has = |field: &str| view.get(field).is_some();
        match message {
            "" if has("resources") => self.response(view, report),
            "" if has("configs") => view.each("configs").iter().for_each(|dump| self.envoy(dump, report)),
            "" if has("static_resources") || has("dynamic_resources") || has("admin") => self.bootstrap(view),
            "" if has("filter_chains") || has("default_filter_chain") || has("api_listener") => {
                self.listeners.push(view.clone());
            }
            "" if has("virtual_hosts") || has("vhds") => self.route(view),
            "" if has("typed_config") => self.fragments.push(view.clone()),
            "DiscoveryResponse" => self.response(&content, report),
            "Bootstrap" => self.bootstrap(&content),
            "Listener" => {
                self.discovered_listeners = true;
                self.listeners.push(content);
            }
            "RouteConfiguration" => self.route(&content),
            "ScopedRouteConfiguration" => self.scopes.push(content),
            "VirtualHost" => insert(&mut self.hosts, content),
            "TypedExtensionConfig" => insert(&mut self.extensions, content),
            "Cluster" => self.clusters.push(content),
            // A resource in a named wrapper, and the parts of a configuration dump.
            "Resource" => view.each("resource").iter().for_each(|inner| self.envoy(inner, report)),
            "BootstrapConfigDump" => view.each("bootstrap").iter().for_each(|inner| self.bootstrap(inner)),
            "ListenersConfigDump"
            | "RoutesConfigDump"
            | "ScopedRoutesConfigDump"
            | "EcdsConfigDump"
            | "ClustersConfigDump" => self.dump(view, report),
            // Resources that do not affect where requests go.
            "ClusterLoadAssignment" | "Secret" | "Runtime" | "SecretsConfigDump" | "EndpointsConfigDump" => {}
            _ => report.add(
                Code::NotUnderstood,
                view,
                "unknown configuration; expected Envoy bootstraps, listeners or discovery responses, Kubernetes resources or a \
                 kong.yml"
                    .to_owned(),
            ),
        }
    }

    /// Reads the resources of a discovery response.
    fn response(&mut self, view: &View<'a>, report: &mut Report) {
        view.each("resources").iter().for_each(|resource| self.envoy(resource, report));
    }

    /// Reads a part of `/config_dump`, in which each resource is wrapped with the time of its last update.
    fn dump(&mut self, view: &View<'a>, report: &mut Report) {
        let known = ["Listener", "RouteConfiguration", "ScopedRouteConfiguration", "TypedExtensionConfig", "Cluster"];
        let ends: Vec<String> = known.iter().map(|name| format!(".{name}")).collect();
        let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
        for (name, part) in view.fields() {
            if name != "@type" {
                part.find(&ends).iter().for_each(|resource| self.dumped(resource, report));
            }
        }
    }

    fn dumped(&mut self, resource: &View<'a>, report: &mut Report) {
        // A dump contains static listeners and clusters twice, the second time with their type.
        let fields = |view: &View<'a>| {
            view.fields().into_iter().filter(|(name, _)| *name != "@type").map(|(name, field)| (name, field.value))
        };
        let again = |known: &[View<'a>]| known.iter().any(|known| fields(known).eq(fields(resource)));
        if !again(&self.listeners) && !again(&self.clusters) {
            self.envoy(resource, report);
        }
    }

    fn bootstrap(&mut self, view: &View<'a>) {
        self.bootstraps.push(view.clone());
        self.listeners.extend(view.each("static_resources.listeners"));
        self.clusters.extend(view.each("static_resources.clusters"));
    }

    fn route(&mut self, view: &View<'a>) {
        insert(&mut self.routes, view.clone());
    }

    /// Returns the resources of this kind.
    pub(super) fn of_kind(&self, group: &str, kind: &str) -> impl Iterator<Item = &Object<'a>> {
        self.objects.iter().filter(move |object| object.group == group && object.kind == kind)
    }
}

fn insert<'a>(map: &mut Named<'a>, view: View<'a>) {
    map.entry(view.text("name").unwrap_or_default()).or_default().push(view);
}

/// Returns the clusters that a Kubernetes resource adds to the configuration of Envoy.
fn added_clusters<'a>(resource: &View<'a>) -> Vec<View<'a>> {
    match resource.text("kind") {
        Some("EnvoyFilter") => {
            let adds =
                |patch: &View<'a>| patch.text("apply_to") == Some("CLUSTER") && patch.is("patch.operation", "ADD", 2);
            let patches = resource.each("spec.config_patches").into_iter();
            patches.filter(adds).filter_map(|patch| patch.path("patch.value")).collect()
        }
        Some("EnvoyProxy") => {
            let patches = resource.each("spec.bootstrap.json_patches").into_iter();
            patches.filter(adds_cluster).filter_map(|patch| patch.get("value")).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns whether an item of `jsonPatches` adds a cluster to Envoy Gateway's bootstrap.
pub(super) fn adds_cluster(patch: &View<'_>) -> bool {
    patch.text("op") == Some("add") && patch.text("path") == Some("/static_resources/clusters/-")
}

/// Reports a field that was left out of a document, if Envoy does not read the document.
fn reads_every_field(view: &View<'_>, report: &mut Report) {
    if let Some(position) = view.document.left_out() {
        report.add_at(
            Code::NotUnderstood,
            view.document,
            position,
            "only Envoy ignores fields with `!ignore`; remove the tag or the field".to_owned(),
        );
    }
}
