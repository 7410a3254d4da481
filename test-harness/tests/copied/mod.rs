//! A check that would detect a typo exists for every file that users copy. These tests plant typos in each file to prove it.
//!
//! The checks use third-party sources if there are any: types that others generate from Istio's definitions, a real Envoy, the meta-schema
//! of draft 4, and, if available, the definitions of Kubernetes resources from their projects. Otherwise (`NOT_CHECKED`) the check is the
//! project's own transcription of the gateway's documentation. That detects typos but not misunderstandings, and the documents state it.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod crds;
mod envoy;
mod istio;
mod kong;
mod ours;

use std::fs;
use std::path::Path;

use serde_json::Value;
use test_harness::paths;

/// The result of checking a text as the content of the file.
type Checked = Result<(), String>;

type Check = fn(&Path, &str) -> Checked;
type Typos = &'static [(&'static str, &'static str)];

/// A file, its check, and typos that the check has to detect: the first occurrence of the first text is replaced by the second.
struct Copied {
    file: &'static str,
    check: Check,
    typos: Typos,
}

/// Kong's files, which only the project's own transcription checks.
const NOT_CHECKED: [&str; 2] = ["kong/kong.conf", "kong/kong.yml"];

const COPIED: &[Copied] = &[
    Copied {
        file: "envoy/envoy.yaml",
        check: envoy::bootstrap,
        typos: &[
            ("use_remote_address:", "use_remote_adress:"),
            ("stat_prefix:", "stat_prefx:"),
            ("failure_policy:", "failure_polcy:"),
            ("host_env_keys:", "host_env_key:"),
            ("FAIL_RELOAD\n", "FAIL_RELOD\n"),
            ("\"max_lifetime\":", "\"max_liftime\":"),
            ("disabled: true", "disable: true"),
            ("lb_endpoints:", "lb_endpoint:"),
        ],
    },
    Copied {
        file: "envoy/front.yaml",
        check: envoy::bootstrap,
        typos: &[("hash_policy:", "hash_polcy:"), ("RING_HASH", "RING_HASCH"), ("terminal:", "termnal:")],
    },
    Copied {
        file: "envoy/lds.yaml",
        check: envoy::bootstrap,
        typos: &[
            ("watched_directory:", "watched_dirctory:"),
            ("lds_config:", "ldsconfig_:"),
            ("stats_tags:", "stat_tags:"),
        ],
    },
    Copied {
        file: "envoy/lds-listeners.yaml",
        check: envoy::listeners,
        typos: &[
            ("merge_slashes:", "merge_slash:"),
            ("KEEP_UNCHANGED", "KEEP_UNCHANGD"),
            ("vm_id:", "vmid:"),
            ("\"endpoints\":", "\"endpoint\":"),
        ],
    },
    Copied {
        file: "envoy/ecds.yaml",
        check: envoy::bootstrap,
        typos: &[
            ("config_discovery:", "config_discovry:"),
            ("type_urls:", "type_url:"),
            ("text_format_source:", "text_fromat_source:"),
        ],
    },
    Copied {
        file: "envoy/ecds-callgate.yaml",
        check: envoy::discovered,
        typos: &[
            ("allow_on_headers_stop_iteration:", "allow_on_header_stop_iteration:"),
            ("allowed_capabilities:", "allowed_capabilites:"),
            ("base_interval:", "base_intervall:"),
            ("\"resource\":", "\"resouce\":"),
        ],
    },
    Copied {
        file: "envoy/mtls.yaml",
        check: envoy::bootstrap,
        typos: &[
            ("require_client_certificate:", "require_client_cert:"),
            ("trusted_ca:", "trusted_cas:"),
            ("SANITIZE_SET", "SANITISE_SET"),
            ("match_typed_subject_alt_names:", "match_typed_subject_alt_name:"),
        ],
    },
    Copied {
        file: "envoy/module/envoy.yaml",
        check: envoy::bootstrap,
        typos: &[
            ("use_remote_address:", "use_remote_adress:"),
            ("dynamic_module_config:", "dynamic_modules_config:"),
            ("do_not_close: true", "do_not_closed: true"),
            ("filename: /etc", "file_name: /etc"),
            ("filter_config:", "filter_confg:"),
            ("\"max_lifetime\":", "\"max_liftime\":"),
            ("disabled: true", "disable: true"),
        ],
    },
    Copied {
        file: "envoy/module/lds.yaml",
        check: envoy::bootstrap,
        typos: &[("watched_directory:", "watched_dirctory:"), ("lds_config:", "ldsconfig_:")],
    },
    Copied {
        file: "envoy/module/lds-listeners.yaml",
        check: envoy::listeners,
        typos: &[
            ("merge_slashes:", "merge_slash:"),
            ("do_not_close:", "do_not_closed:"),
            ("\"environment\":", "\"environments\":"),
            ("\"endpoints\":", "\"endpoint\":"),
        ],
    },
    Copied {
        file: "envoy/module/ecds.yaml",
        check: envoy::bootstrap,
        typos: &[("config_discovery:", "config_discovry:"), ("type_urls:", "type_url:")],
    },
    Copied {
        file: "envoy/module/ecds-callgate.yaml",
        check: envoy::discovered,
        typos: &[
            ("do_not_close:", "do_not_closed:"),
            ("filter_config:", "filter_confg:"),
            ("\"resource\":", "\"resouce\":"),
        ],
    },
    Copied {
        file: "envoy/istio/wasm-plugin.yaml",
        check: istio::wasm_plugin,
        typos: &[
            ("failStrategy:", "failStratgy:"),
            ("FAIL_RELOAD", "FAIL_RELOD"),
            ("matchLabels:", "matchLabel:"),
            ("kind: WasmPlugin", "kind: WasmPlugn"),
            ("v1alpha1", "v1alpha2"),
            ("valueFrom:", "valuFrom:"),
            ("max_lifetime:", "max_liftime:"),
        ],
    },
    Copied {
        file: "envoy/istio/wasm-plugin-sidecar.yaml",
        check: istio::wasm_plugin,
        typos: &[("mode: SERVER", "mode: SERVR"), ("phase:", "phse:"), ("url:", "ulr:")],
    },
    Copied {
        file: "envoy/istio/traffic-extension.yaml",
        check: istio::traffic_extension,
        typos: &[("  wasm:", "  wsam:"), ("pluginName:", "pluginNme:"), ("selector:", "selectr:")],
    },
    Copied {
        file: "envoy/istio/envoy-filter.yaml",
        check: istio::envoy_filter,
        typos: &[
            ("configPatches:", "configPatch:"),
            ("EXTENSION_CONFIG", "EXTENSION_CONFG"),
            ("subFilter:", "subfilter:"),
            ("http_uri:", "http_url:"),
            ("capability_restriction_config:", "capability_restriction:"),
            ("type_urls:", "type_url:"),
            ("normalize_path:", "normalise_path:"),
        ],
    },
    Copied {
        file: "envoy/envoy-gateway/extension-policy.yaml",
        check: ours::extension_policy,
        typos: &[
            ("targetRefs:", "targetRef:"),
            ("failOpen:", "failopen:"),
            ("hostKeys:", "hostKey:"),
            ("rootID:", "rootId:"),
        ],
    },
    Copied {
        file: "envoy/envoy-gateway/module.yaml",
        check: ours::module_resources,
        typos: &[
            ("dynamicModule:", "dynamicModules:"),
            ("filterName:", "filtername:"),
            ("doNotClose:", "doNotclose:"),
            ("type: Local", "type: local"),
            ("volumeMounts:", "volumeMount:"),
            ("mountPath: /etc/callgate", "mountPath: /etc/calgate"),
            ("max_lifetime:", "max_liftime:"),
            ("escapedSlashesAction:", "escapedSlashAction:"),
        ],
    },
    Copied {
        file: "envoy/higress/wasm-plugin.yaml",
        check: istio::higress_plugin,
        typos: &[
            ("defaultConfig:", "defaultConfg:"),
            ("defaultConfigDisable:", "defaultConfigDisabled:"),
            ("FAIL_CLOSE", "FAIL_CLOSED"),
        ],
    },
    Copied {
        file: "kong/kong.yml",
        check: kong::declarative,
        typos: &[
            ("filter_chains:", "filter_chain:"),
            ("strip_path:", "strip_paths:"),
            ("max_lifetime:", "max_liftime:"),
        ],
    },
    Copied {
        file: "kong/kong.conf",
        check: kong::settings,
        typos: &[
            ("wasm_filters_path", "wasm_filter_path"),
            ("nginx_wasm_shm_kv_", "nginx_wasm_shm_"),
            ("1416k", "1413k"),
            ("CALLGATE_GATEWAY=kong", "CALLGATE_GATEWAY=Kong"),
            ("worker_shutdown_timeout", "workers_shutdown_timeout"),
            ("= on", "= yes"),
        ],
    },
    Copied {
        file: "kong/callgate.meta.json",
        check: kong::meta,
        typos: &[
            ("\"properties\": {", "\"properties\": [{"),
            ("\"config_schema\"", "\"config_schem\""),
            ("#/definitions/", "#/$defs/"),
        ],
    },
];

/// Returns all configuration files below a folder, relative to the root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(paths::root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            found.extend(files(&name));
        } else if ["yaml", "yml", "json", "conf"].iter().any(|end| name.ends_with(&format!(".{end}"))) {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Returns the check for a file of the examples, which are of few kinds.
fn example(file: &str) -> Option<Copied> {
    let name = file.rsplit('/').next()?;
    let (check, typos): (Check, Typos) = match name {
        "policy.json" => (
            ours::policy,
            &[("\"endpoints\":", "\"endpoint\":"), ("\"resource\":", "\"resouce\":"), ("\"enforce\"", "\"enfore\"")],
        ),
        "policy.yaml" => {
            (ours::policy, &[("endpoints:", "endpoint:"), ("resource:", "resouce:"), ("mode: enforce", "mode: enfore")])
        }
        "cases.yaml" => {
            (ours::cases, &[("cases:", "case:"), ("expect:", "expects:"), ("decision: allow", "decision: alow")])
        }
        "alerts.yaml" => (ours::alerts, &[("- alert:", "- alrt:"), ("expr:", "exp:"), ("increase(", "incrase(")]),
        "dashboard.json" => {
            (ours::dashboard, &[("\"panels\"", "\"pannels\""), ("\"expr\"", "\"exrp\""), ("rate(", "rtae(")])
        }
        "record.json" => (ours::record, &[("\"decision\"", "\"decison\"")]),
        "jwks.json" => (
            ours::key_set,
            &[("\"keys\"", "\"kyes\""), ("\"kty\"", "\"kyt\""), ("\"crv\"", "\"crw\""), ("\"x\"", "\"X\"")],
        ),
        "tools.json" => (
            ours::tools,
            &[
                ("\"refund_payment\"", "\"refund_paymnt\""),
                ("Starts a payment", "Starts no payment"),
                ("destructiveHint", "destructivHint"),
            ],
        ),
        _ if name.ends_with(".jwk.json") => (ours::key, &[("\"kty\"", "\"kyt\""), ("\"d\"", "\"D\"")]),
        _ => return None,
    };
    Some(Copied { file: Box::leak(file.to_owned().into_boxed_str()), check, typos })
}

#[test]
fn validators_detect_typos_in_every_file_that_users_copy() {
    let all = ["envoy", "kong", "examples"].map(files).concat();
    let mut unfound = Vec::new();
    for file in &all {
        let named = COPIED.iter().find(|copied| copied.file == file);
        let example = named.is_none().then(|| example(file)).flatten();
        let copied = named.or(example.as_ref()).unwrap_or_else(|| panic!("nothing checks {file}"));
        let path = paths::root().join(file);
        let text = fs::read_to_string(&path).unwrap();
        (copied.check)(&path, &text).unwrap_or_else(|wrong| panic!("{file}: {wrong}"));
        assert!(!copied.typos.is_empty(), "{file}");
        for (from, to) in copied.typos {
            assert!(text.contains(from), "{file}: there is no `{from}`");
            let typo = text.replacen(from, to, 1);
            if (copied.check)(&path, &typo).is_ok() {
                unfound.push(format!("{file}: `{to}`"));
            }
        }
    }
    assert!(unfound.is_empty(), "nobody noticed:\n{}", unfound.join("\n"));
    let gone: Vec<_> =
        COPIED.iter().map(|copied| copied.file).filter(|file| !all.iter().any(|known| known == file)).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// The documents next to these files state that they are not checked independently.
#[test]
fn readmes_state_which_files_are_not_checked() {
    for file in NOT_CHECKED {
        let (folder, name) = file.rsplit_once('/').unwrap();
        let readme = fs::read_to_string(paths::root().join(folder).join("README.md")).unwrap();
        let told = readme.split("\n\n").flat_map(str::lines).filter(|line| line.contains(name)).collect::<String>();
        let said =
            ["not checked", "alone"].iter().any(|words| told.contains(words) || readme.contains("**not checked**"));
        assert!(!told.is_empty() && said, "{file}");
    }
}

/// Parses a file. Comments are not part of the value.
fn value(file: &Path, text: &str) -> Result<Value, String> {
    let read = callgate_kit::document::parse(file.to_str().unwrap(), text.as_bytes());
    read.map(|document| document.value().clone()).map_err(|wrong| wrong.to_string())
}

/// Checks that a policy inside a file compiles.
fn compiles(policy: &Value) -> Checked {
    let text = policy.to_string();
    let read = callgate_kit::document::parse("policy", text.as_bytes()).map_err(|wrong| wrong.to_string())?;
    let compiled = callgate_kit::policy::compile(read, &callgate_kit::policy::not_needed);
    compiled.map(drop).map_err(|wrong| wrong.to_string())
}
