//! Checks Kong's files. The accepted entities and settings are transcribed from Kong's reference and sources. The schema of a policy is
//! checked with the meta-schema that Kong uses.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use test_harness::paths;

use super::{Checked, compiles, value};

/// Entities in the format of DB-less Kong, limited to the fields that the project uses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declarative {
    #[serde(rename = "_format_version")]
    format_version: String,
    services: Vec<Service>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Service {
    name: String,
    url: String,
    retries: u16,
    routes: Vec<Route>,
    filter_chains: Vec<Chain>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Route {
    name: String,
    hosts: Vec<String>,
    paths: Vec<String>,
    strip_path: bool,
    preserve_host: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that they are there, and nothing else, is what is asked")]
struct Chain {
    name: String,
    enabled: bool,
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    name: String,
    enabled: bool,
    config: Value,
}

pub(super) fn declarative(file: &Path, text: &str) -> Checked {
    let read: Declarative = serde_json::from_value(value(file, text)?).map_err(|error| error.to_string())?;
    if read.format_version != "3.0" {
        return Err("another format".to_owned());
    }
    let meta = fs::read_to_string(paths::root().join("kong/callgate.meta.json")).unwrap();
    let meta: Value = serde_json::from_str(&meta).unwrap();
    let schema = draft4(&meta["config_schema"])?;
    for filter in read.services.iter().flat_map(|service| &service.filter_chains).flat_map(|chain| &chain.filters) {
        if filter.name != "callgate" || !filter.enabled {
            return Err("the filter is not there".to_owned());
        }
        schema.validate(&filter.config).map_err(|error| error.to_string())?;
        compiles(&filter.config)?;
    }
    Ok(())
}

fn draft4(schema: &Value) -> Result<jsonschema::Validator, String> {
    jsonschema::draft4::meta::validate(schema).map_err(|error| error.to_string())?;
    jsonschema::draft4::new(schema).map_err(|error| error.to_string())
}

pub(super) fn meta(_: &Path, text: &str) -> Checked {
    let meta: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let fields = meta.as_object().ok_or("this is no object")?;
    if fields.keys().ne(["config_schema"]) {
        return Err("Kong takes `config_schema` and `metrics`".to_owned());
    }
    let schema = draft4(&fields["config_schema"])?;
    // A validator of draft 4 ignores an unknown keyword, so check that the schema has an effect.
    let policy =
        callgate_kit::document::read(paths::root().join("envoy/policy.yaml")).map_err(|wrong| wrong.to_string())?;
    let mut policy = policy.value().clone();
    if schema.is_valid(&policy) {
        return Err("a policy for another gateway passes".to_owned());
    }
    policy["gateway"] = "kong".into();
    schema.validate(&policy).map_err(|error| error.to_string())?;
    let mut wrong = policy;
    wrong["issuers"]["corp"]["max_liftime"] = "15m".into();
    if schema.is_valid(&wrong) {
        return Err("an unknown field passes".to_owned());
    }
    Ok(())
}

/// Checks the settings of `kong.conf` that the project uses, each with the required form of its value.
pub(super) fn settings(_: &Path, text: &str) -> Checked {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (name, value) = line.split_once(" = ").ok_or_else(|| format!("`{line}` is no setting"))?;
        let size = |value: &str| {
            value.strip_suffix(['k', 'm']).is_some_and(|number| number.parse::<u64>().is_ok_and(|number| number > 0))
        };
        // nginx does not start with a zone size that is not a multiple of the page size.
        let pages = |value: &str| {
            value
                .strip_suffix('k')
                .is_none_or(|number| number.parse().is_ok_and(|number: u64| number.is_multiple_of(4)))
        };
        let fits = match name {
            "wasm" => ["on", "off"].contains(&value),
            "wasm_filters_path" => value.starts_with('/'),
            "wasm_filters" => value == "user",
            "nginx_wasm_shm_kv_callgate" => size(value) && pages(value),
            "nginx_http_client_body_buffer_size" => size(value),
            "nginx_main_worker_shutdown_timeout" => {
                value.strip_suffix('s').is_some_and(|seconds| seconds.parse::<u16>().is_ok_and(|seconds| seconds > 0))
            }
            "prefix" => value == "/usr/local/kong",
            "nginx_main_env" => value == "CALLGATE_GATEWAY=kong; env CALLGATE_TABLES_KEY",
            "admin_listen" => value.starts_with("127.0.0.1:"),
            _ => return Err(format!("there is no setting `{name}`")),
        };
        if !fits {
            return Err(format!("`{name}` does not take `{value}`"));
        }
    }
    Ok(())
}
