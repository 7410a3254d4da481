//! The headers that mirror arguments of a tool agree with them.

use serde_json::{Value, json};

use super::messages::SQL_TOOL;
use super::scenario::Need::{Bodies, Parameters};
use super::scenario::{Scenario, must, should};
use super::sections::{CUSTOM_HEADERS, VALIDATION, VALUE_ENCODING};
use super::sent::{Sent, encoded};
use super::suite::Suite;

const NEEDS: &[super::scenario::Need] = &[Bodies, Parameters];
const MISMATCH: &[u16] = &[400];

fn call(suite: &Suite, arguments: Value) -> Sent {
    suite.call(SQL_TOOL, arguments)
}

fn in_region(suite: &Suite, region: &str) -> Sent {
    call(suite, json!({ "region": region }))
}

pub(super) const SCENARIOS: &[Scenario] = &[
    must(
        "parameters.agree",
        CUSTOM_HEADERS,
        &[],
        "A request whose `Mcp-Param-*` headers agree with the arguments is forwarded with them",
        |suite| {
            let sent = call(suite, json!({ "region": "us-west1", "limit": 42, "dry_run": true }))
                .add("Mcp-Param-Region", "us-west1")
                .add("Mcp-Param-Limit", "42")
                .add("Mcp-Param-Dry-Run", "true");
            let headers = [("mcp-param-region", "us-west1"), ("mcp-param-limit", "42"), ("mcp-param-dry-run", "true")];
            suite.forwards_with(&sent, &headers)
        },
    ),
    must(
        "parameters.differ",
        CUSTOM_HEADERS,
        NEEDS,
        "A request whose header differs from the argument is rejected with 400",
        |suite| {
            let region = in_region(suite, "us-west1");
            let requests = [
                ("value", region.clone().add("Mcp-Param-Region", "eu-west1")),
                ("case", region.clone().add("Mcp-Param-Region", "US-west1")),
                ("encoded", region.clone().add("Mcp-Param-Region", encoded("eu-west1"))),
                ("empty", region.add("Mcp-Param-Region", "")),
            ];
            suite.rejects_all(&requests, MISMATCH)
        },
    ),
    must(
        "parameters.missing",
        CUSTOM_HEADERS,
        NEEDS,
        "A request with the argument but without its header is rejected with 400",
        |suite| suite.rejects(&in_region(suite, "us-west1"), MISMATCH),
    ),
    must(
        "parameters.without-argument",
        CUSTOM_HEADERS,
        NEEDS,
        "A request with a header but without its argument is rejected with 400",
        |suite| {
            let absent = call(suite, json!({})).add("Mcp-Param-Region", "us-west1");
            let null = call(suite, json!({ "region": null })).add("Mcp-Param-Region", "null");
            suite.rejects_all(&[("absent", absent), ("null", null)], MISMATCH)
        },
    ),
    must("parameters.absent", CUSTOM_HEADERS, &[], "No header is expected for an argument that is absent", |suite| {
        suite.forwards(&call(suite, json!({ "query": "SELECT 1" })))
    }),
    must("parameters.null", CUSTOM_HEADERS, &[], "No header is expected for an argument that is `null`", |suite| {
        suite.forwards(&call(suite, json!({ "region": null })))
    }),
    must(
        "parameters.repeated",
        CUSTOM_HEADERS,
        NEEDS,
        "A repeated header with another value is rejected with 400, in either order",
        |suite| {
            let two = |first: &str, second: &str| {
                in_region(suite, "us-west1").add("Mcp-Param-Region", first).add("Mcp-Param-Region", second)
            };
            let requests = [("wrong last", two("us-west1", "eu-west1")), ("wrong first", two("eu-west1", "us-west1"))];
            suite.rejects_all(&requests, MISMATCH)
        },
    ),
    must(
        "parameters.nested",
        CUSTOM_HEADERS,
        NEEDS,
        "A header is compared with the argument at its place, not with another member of that name",
        |suite| {
            let nested = json!({ "region": "eu-west1", "options": { "region": "us-west1" } });
            suite.rejects(&call(suite, nested).add("Mcp-Param-Region", "us-west1"), MISMATCH)
        },
    ),
    should("parameters.integers", VALIDATION, &[], "Integers are compared as numbers: `42.0` is 42", |suite| {
        suite.forwards(&call(suite, json!({ "limit": 42 })).add("Mcp-Param-Limit", "42.0"))
    }),
    must(
        "parameters.integers-differ",
        VALIDATION,
        NEEDS,
        "Integers that differ, or that are no numbers, are rejected with 400",
        |suite| {
            let limit = |value: &str| call(suite, json!({ "limit": 42 })).add("Mcp-Param-Limit", value);
            let large = call(suite, json!({ "limit": 9_007_199_254_740_991_u64 }));
            let requests = [
                ("43", limit("43")),
                ("42.5", limit("42.5")),
                ("0x2a", limit("0x2a")),
                ("words", limit("forty-two")),
                ("large", large.add("Mcp-Param-Limit", "9007199254740990")),
            ];
            suite.rejects_all(&requests, MISMATCH)
        },
    ),
    must(
        "parameters.booleans",
        VALUE_ENCODING,
        NEEDS,
        "Booleans are `true` and `false` in lower case; anything else is rejected with 400",
        |suite| {
            let dry_run = |value: &str| call(suite, json!({ "dry_run": true })).add("Mcp-Param-Dry-Run", value);
            let requests = [("false", dry_run("false")), ("True", dry_run("True")), ("1", dry_run("1"))];
            suite.rejects_all(&requests, MISMATCH)
        },
    ),
    must("parameters.encoded", VALUE_ENCODING, &[], "A header in Base64 is compared decoded", |suite| {
        let sent = in_region(suite, "Hello, 世界");
        suite.forwards(&sent.add("Mcp-Param-Region", "=?base64?SGVsbG8sIOS4lueVjA==?="))
    }),
    must("parameters.encoded-whitespace", VALUE_ENCODING, &[], "Whitespace in an encoded value is kept", |suite| {
        suite.forwards(&in_region(suite, " padded ").add("Mcp-Param-Region", "=?base64?IHBhZGRlZCA=?="))
    }),
    must(
        "parameters.looks-encoded",
        VALUE_ENCODING,
        &[],
        "An argument that looks like an encoded value is encoded itself, and decoded once",
        |suite| {
            let sent = in_region(suite, "=?base64?literal?=");
            suite.forwards(&sent.add("Mcp-Param-Region", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="))
        },
    ),
    must(
        "parameters.looks-encoded-plain",
        VALUE_ENCODING,
        NEEDS,
        "The same argument with itself as the header, which decodes to something else, is rejected with 400",
        |suite| {
            let sent = in_region(suite, "=?base64?bGl0ZXJhbA==?=");
            suite.rejects(&sent.add("Mcp-Param-Region", "=?base64?bGl0ZXJhbA==?="), MISMATCH)
        },
    ),
    must(
        "parameters.not-ascii",
        CUSTOM_HEADERS,
        NEEDS,
        "A header with bytes that are not ASCII is rejected with 400, even if they are those of the argument",
        |suite| suite.rejects(&in_region(suite, "世界").add("Mcp-Param-Region", "世界"), MISMATCH),
    ),
    must(
        "parameters.unknown",
        CUSTOM_HEADERS,
        &[],
        "An `Mcp-Param-*` header that the gateway does not know is forwarded and otherwise ignored",
        |suite| {
            let sent = call(suite, json!({ "query": "SELECT 1" })).add("Mcp-Param-Tenant", "=?base64?%%?=");
            suite.forwards_with(&sent, &[("mcp-param-tenant", "=?base64?%%?=")])
        },
    ),
];
