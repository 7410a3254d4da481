//! Tests of parsing both fields: accepted and rejected values, and the serialization of accepted ones.

use proptest::prelude::*;

use super::super::members::{MOST_COMPONENTS, MOST_PARAMETERS, MOST_SIGNATURES};
use super::*;
use crate::request::headers::Headers;

/// Parses a message with one `Signature` for each of these labels.
fn read_labels<'a>(input: &'a str, signature: &'a str) -> Result<Vec<Signed<'a>>, Malformed> {
    read(input.as_bytes(), signature.as_bytes())
}

fn wrong(input: &str) -> Malformed {
    read_labels(input, "sig=:AA==:").expect_err(input)
}

/// Returns the `@signature-params` of one signature.
fn params(input: &str) -> String {
    let input = format!("sig={input}");
    let signed = read_labels(&input, "sig=:AA==:").expect(&input);
    signed[0].input.parameters().to_owned()
}

#[test]
fn reads_components_and_parameters() {
    // RFC 9421, section 4.1.
    let input = "sig1=(\"@method\" \"@target-uri\" \"@authority\" \"content-digest\" \"cache-control\")\
                 ;created=1618884475;keyid=\"test-key-rsa-pss\";alg=\"rsa-pss-sha512\";nonce=\"n\";tag=\"t\";expires=1618884535";
    let signed = read_labels(input, "sig1=:AQID:").unwrap();
    let [Signed { input, signature }] = &signed[..] else { panic!("{signed:?}") };
    assert_eq!((&*input.label, signature.as_slice()), ("sig1", &[1, 2, 3][..]));
    let names: Vec<_> = input.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["@method", "@target-uri", "@authority", "content-digest", "cache-control"]);
    assert_eq!((input.created, input.expires), (Some(1_618_884_475), Some(1_618_884_535)));
    let texts = [&input.keyid, &input.alg, &input.nonce, &input.tag].map(|text| text.as_deref().unwrap());
    assert_eq!(texts, ["test-key-rsa-pss", "rsa-pss-sha512", "n", "t"]);
    let bare = read_labels("a=()", "a=::").unwrap();
    assert!(bare[0].input.components.is_empty() && bare[0].input.created.is_none() && bare[0].signature.is_empty());
}

#[test]
fn matches_signatures_to_inputs_by_label() {
    let signed = read_labels("b=();created=2, a=();created=1", "a=:AQ==:,b=:Ag==:;x=1").unwrap();
    let read: Vec<_> = signed.iter().map(|s| (&*s.input.label, s.input.created, s.signature[0])).collect();
    assert_eq!(read, [("b", Some(2), 2), ("a", Some(1), 1)]);
    assert!(read_labels("", "").unwrap().is_empty());
    for (input, signature) in [
        ("a=()", ""),
        ("", "a=:AA==:"),
        ("a=()", "b=:AA==:"),
        ("a=(), b=()", "a=:AA==:"),
        ("a=()", "a=:AA==:, b=:AA==:"),
    ] {
        assert_eq!(read_labels(input, signature).unwrap_err(), Malformed::LonelyLabel, "{input} {signature}");
    }
}

#[test]
fn rejects_a_duplicate_label_across_lines() {
    assert_eq!(read_labels("a=(), a=()", "a=:AA==:").unwrap_err(), Malformed::DuplicateLabel);
    assert_eq!(read_labels("a=()", "a=:AA==:, a=:AA==:").unwrap_err(), Malformed::DuplicateLabel);
    assert_eq!(read_labels("a=(), a=()", "a=:AA==:, a=:AQ==:").unwrap_err(), Malformed::DuplicateLabel);
    let headers: Headers =
        [("Signature-Input", "a=(\"@method\")"), ("x", "y"), ("signature-input", "a=()")].into_iter().collect();
    let input = crate::identity::signature::joined(&headers, "signature-input").unwrap();
    assert_eq!(&*input, b"a=(\"@method\"), a=()");
    assert_eq!(read(&input, b"a=:AA==:").unwrap_err(), Malformed::DuplicateLabel);
}

#[test]
fn rejects_a_duplicate_component_in_any_parameter_order() {
    for list in [
        "\"@method\" \"@method\"",
        "\"date\" \"@method\" \"date\"",
        "\"a\";key=\"x\";sf \"a\";sf;key=\"x\"",
        "\"@query-param\";name=\"a\" \"@query-param\";name=\"a\"",
        "\"a\";bs \"a\";bs=?1",
    ] {
        assert_eq!(wrong(&format!("sig=({list})")), Malformed::DuplicateComponent, "{list}");
    }
    let different = "(\"a\" \"a\";sf \"a\";bs \"a\";key=\"x\" \"a\";key=\"y\" \"@query-param\";name=\"a\" \"@query-param\";name=\"b\")";
    assert_eq!(params(different), different);
}

#[test]
fn rejects_a_duplicate_parameter() {
    for input in [
        "sig=();created=1;created=1",
        "sig=();keyid=\"a\";created=1;keyid=\"b\"",
        "sig=();x=1;x=1",
        "sig=(\"a\";sf;sf)",
        "sig=(\"a\";key=\"x\";key=\"y\")",
        "sig=(\"@query-param\";name=\"x\";name=\"y\")",
    ] {
        assert_eq!(wrong(input), Malformed::DuplicateParameter, "{input}");
    }
}

#[test]
fn rejects_invalid_components() {
    for component in [
        "\"@status\"",
        "\"@signature-params\"",
        "\"@unknown\"",
        "\"@METHOD\"",
        "\"\"",
        "\"Date\"",
        "\"da te\"",
        "\"date:\"",
        "\":path\"",
        "\"a\\\"b\"",
        "date",
        "1",
        ":AA==:",
        "?1",
        "\"@method\";req",
        "\"date\";req",
        "\"date\";tr",
        "\"date\";unknown",
        "\"date\";name=\"a\"",
        "\"@method\";sf",
        "\"@method\";bs",
        "\"@method\";key=\"a\"",
        "\"@path\";name=\"a\"",
        "\"@query-param\"",
        "\"@query-param\";name",
        "\"@query-param\";name=a",
        "\"@query-param\";key=\"a\"",
        "\"date\";sf=?0",
        "\"date\";sf=1",
        "\"date\";sf=\"a\"",
        "\"date\";bs=?0",
        "\"date\";key",
        "\"date\";key=a",
        "\"date\";bs;sf",
        "\"date\";key=\"a\";bs",
    ] {
        assert_eq!(wrong(&format!("sig=({component})")), Malformed::Component, "{component}");
    }
    assert_eq!(params("(\"x!#$%&'*+-.^_`|~9\")"), "(\"x!#$%&'*+-.^_`|~9\")");
}

#[test]
fn rejects_parameters_of_the_wrong_type() {
    for parameter in
        ["created=\"1\"", "created=1.0", "created=a", "created", "expires=?1", "expires=:AA==:", "nonce=1", "nonce=a"]
            .into_iter()
            .chain(["alg=ed25519", "keyid=1", "keyid", "tag=a", "tag=?0"])
    {
        assert_eq!(wrong(&format!("sig=();{parameter}")), Malformed::Parameter, "{parameter}");
    }
    // Structured fields as defined for RFC 9421 have neither dates nor text beyond ASCII.
    for parameter in ["created=@1", "tag=%\"a\"", "x=@1"] {
        assert_eq!(wrong(&format!("sig=();{parameter}")), Malformed::Syntax, "{parameter}");
    }
}

#[test]
fn keeps_unknown_parameters_in_their_order() {
    for input in [
        "(\"@method\" \"@request-target\");created=1;expires=2;nonce=\"n\";tag=\"t\";wimse-aud=\"https://a/b\";wimse-sign-response",
        "();x=1;created=2;y=:AAAA:;keyid=\"k\";z=tok/en:*",
        "();a=-1.5;b=?0;c=\"\\\"\\\\\"",
    ] {
        assert_eq!(params(input), input);
    }
    // Serialized again, as section 2.5 requires, in the original order.
    for (input, expected) in [
        ("(  \"b\"   \"a\" ) ; y=1;  x", "(\"b\" \"a\")"),
        ("(  \"b\"   \"a\" );   y=01;  x=?1;z=1.50", "(\"b\" \"a\");y=1;x;z=1.5"),
        ("(\"a\";sf=?1)", "(\"a\";sf)"),
    ] {
        let whole = format!("sig={input}");
        match read_labels(&whole, "sig=:AA==:") {
            Ok(signed) => assert_eq!(signed[0].input.parameters(), expected),
            Err(malformed) => assert_eq!((malformed, input.contains(") ;")), (Malformed::Syntax, true), "{input}"),
        }
    }
}

#[test]
fn rejects_fields_with_invalid_syntax() {
    for input in [
        "sig",
        "sig=1",
        "sig=?1",
        "sig=\"a\"",
        "sig=:AA==:",
        "sig=(",
        "sig=(\"a\"",
        "sig=(\"a\"\"b\")",
        "sig=(\"a\",\"b\")",
        "sig=()x",
        "sig=(),",
        ",sig=()",
        "Sig=()",
        "=()",
        "()",
        "sig=(\"a)",
        "sig=(\"a\\b\")",
        "sig=();created=1234567890123456",
        "sig=(\"a\"\t\"b\")",
        "sig=((\"a\"))",
    ] {
        assert_eq!(wrong(input), Malformed::Syntax, "{input}");
    }
    for bytes in
        [&b"sig=(\"caf\xc3\xa9\")"[..], b"sig=(\"a\0\")", b"sig=();keyid=\"\x7f\"", b"\xff", b"sig=()\n", b"\0"]
    {
        assert_eq!(read(bytes, b"sig=:AA==:").unwrap_err(), Malformed::Syntax, "{bytes:?}");
    }
    for signature in [
        "sig",
        "sig=1",
        "sig=AA==",
        "sig=\"AA==\"",
        "sig=(:AA==:)",
        "sig=:AA==",
        "sig=:A:",
        "sig=:AA_-:",
        "sig=:AA ==:",
    ] {
        assert_eq!(read_labels("sig=()", signature).unwrap_err(), Malformed::Syntax, "{signature}");
    }
}

#[test]
fn limits_the_number_and_size_of_all_parts() {
    let many = |count: usize, item: &dyn Fn(usize) -> String, between: &str| {
        (0..count).map(item).collect::<Vec<_>>().join(between)
    };
    let components = |count| format!("sig=({})", many(count, &|n| format!("\"x{n}\""), " "));
    assert_eq!(
        read_labels(&components(MOST_COMPONENTS), "sig=:AA==:").unwrap()[0].input.components.len(),
        MOST_COMPONENTS
    );
    assert_eq!(wrong(&components(MOST_COMPONENTS + 1)), Malformed::Size);
    let parameters = |count| format!("sig=(){}", many(count, &|n| format!(";x{n}"), ""));
    assert!(read_labels(&parameters(MOST_PARAMETERS), "sig=:AA==:").is_ok());
    assert_eq!(wrong(&parameters(MOST_PARAMETERS + 1)), Malformed::Size);
    let inputs = |count| many(count, &|n| format!("s{n}=()"), ", ");
    let signatures = |count| many(count, &|n| format!("s{n}=:AA==:"), ", ");
    assert_eq!(read_labels(&inputs(MOST_SIGNATURES), &signatures(MOST_SIGNATURES)).unwrap().len(), MOST_SIGNATURES);
    assert_eq!(read_labels(&inputs(MOST_SIGNATURES + 1), &signatures(1)).unwrap_err(), Malformed::Size);
    assert_eq!(read_labels(&inputs(1), &signatures(MOST_SIGNATURES + 1)).unwrap_err(), Malformed::Size);
    let long = format!("sig=();x=\"{}\"", "a".repeat(MOST_BYTES));
    assert_eq!(wrong(&long), Malformed::Size);
    assert_eq!(read_labels("sig=()", &long).unwrap_err(), Malformed::Size);
    // A field full of small items costs no more than its length.
    for field in [inputs(1_600), parameters(2_600), components(2_000)] {
        assert!(field.len() > MOST_BYTES / 2 && field.len() <= MOST_BYTES, "{}", field.len());
        assert_eq!(wrong(&field), Malformed::Size);
    }
}

/// Generates text that is often close to a valid input.
fn near() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("sig=".to_owned()),
        Just("(".to_owned()),
        Just(")".to_owned()),
        Just(" ".to_owned()),
        Just(";".to_owned()),
        Just(", ".to_owned()),
        Just("\"@method\"".to_owned()),
        Just("\"date\"".to_owned()),
        Just("sf".to_owned()),
        Just("created=1".to_owned()),
        Just("keyid=\"k\"".to_owned()),
        Just("key=\"a\"".to_owned()),
        Just("b=()".to_owned()),
        "[ -~]{0,4}",
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn reads_or_rejects_any_bytes(input: Vec<u8>, signature: Vec<u8>) {
        let _ = read(&input, &signature);
    }

    #[test]
    fn serialized_parameters_parse_to_the_same_input(input in near()) {
        let labels: Vec<_> = ["sig", "b"].into_iter().filter(|label| input.contains(&format!("{label}=("))).collect();
        let signature = labels.iter().map(|label| format!("{label}=:AA==:")).collect::<Vec<_>>().join(", ");
        if let Ok(signed) = read_labels(&input, &signature) {
            for Signed { input, .. } in signed {
                let again = format!("sig={}", input.parameters());
                let again = read_labels(&again, "sig=:AA==:").unwrap();
                prop_assert_eq!(again[0].input.parameters(), input.parameters());
                prop_assert_eq!(again[0].input.components.len(), input.components.len());
                for (one, other) in input.components.iter().zip(&again[0].input.components) {
                    prop_assert!(one.is_same(other));
                    prop_assert_eq!(input.identifier(one), again[0].input.identifier(other));
                }
                prop_assert_eq!((input.created, input.expires), (again[0].input.created, again[0].input.expires));
                prop_assert_eq!((&input.keyid, &input.tag), (&again[0].input.keyid, &again[0].input.tag));
            }
        }
    }
}
