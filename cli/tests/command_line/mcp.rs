use crate::{Ran, callgate, file, run};

/// Two tools, each with its pin from another implementation of RFC 8785.
const TOOLS: [(&str, &str); 2] = [
    (
        r#"{"name":"a","inputSchema":{"type":"object","properties":{"limit":{"maximum":1.0e2,"minimum":0.5}}}}"#,
        "- name: a\n  pin: [\"fca38bbe054d6d58457ef3eb9c091424ec585540003612cd645671a1c232fd48\"]\n",
    ),
    (
        r#"{"title":"On","name":"on"}"#,
        "- name: \"on\"\n  pin: [\"3ab0065c1ce97f18a9ce69715e91296517240a40b7b1d225d89f47a8eab67b04\"]\n",
    ),
];

fn pin(arguments: &[&str], answer: &str) -> Ran {
    run(&[&["mcp", "pin"], arguments].concat(), answer)
}

#[test]
fn prints_the_pin_of_each_tool() {
    let [(one, one_pin), (other, other_pin)] = TOOLS;
    let response = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{one},{other}]}}}}"#);
    let both = format!("{one_pin}{other_pin}");
    assert_eq!(pin(&["-"], &response).fine(), both);
    assert_eq!(pin(&["-"], &format!("event: message\ndata: {response}\n\n")).fine(), both);
    assert_eq!(pin(&["-"], &format!("[{one},{other}]")).fine(), both);
    let saved = file("mcp-tools.json", &response);
    assert_eq!(callgate(&format!("mcp pin {saved}")).fine(), both);
    assert_eq!(pin(&["-", "--tool", "on"], &response).fine(), other_pin);
}

#[test]
fn rejects_a_tool_that_the_answer_does_not_contain() {
    let [(one, _), _] = TOOLS;
    let told = pin(&["-", "--tool", "A"], &format!("[{one}]")).failed(1);
    assert_eq!(told, "callgate: --tool: the answer has no tool `A`; did you mean `a`?\n");
    let told = pin(&["-", "--tool", "create_payment"], &format!("[{one}]")).failed(1);
    assert!(
        told.ends_with("no tool `create_payment`; check the name, and whether the answer has all pages\n"),
        "{told}"
    );
    let told = pin(&["-"], r#"{"result":{"prompts":[{"name":"a"}]}}"#).failed(2);
    assert_eq!(told, "standard input: no tools; save the server's answer to `tools/list`\n");
}

#[test]
fn rejects_answers_without_exactly_one_meaning() {
    let [(one, _), _] = TOOLS;
    for (answer, told) in [
        (format!("[{one},{one}]"), "standard input: [1]: `a` is already at [0], so it identifies neither; "),
        (
            r#"{"tools":[],"tools":[]}"#.to_owned(),
            "standard input: not JSON that every reader understands the same way: ",
        ),
        (
            r#"[{"name":"a","x":0.12345678901234567}]"#.to_owned(),
            "standard input: [0]: the definition has no pin, because ",
        ),
        ("<html>".to_owned(), "standard input: this is an HTML or XML page; "),
    ] {
        let ran = pin(&["-"], &answer);
        assert_eq!((ran.code, &*ran.out), (2, ""), "{answer}");
        assert!(ran.err.starts_with(told), "{answer}: {}", ran.err);
    }
    assert_eq!(pin(&["missing.json"], "").failed(1), "callgate: missing.json does not exist\n");
}

#[test]
fn warns_about_further_pages() {
    let [(one, one_pin), _] = TOOLS;
    let ran = pin(&["-"], &format!(r#"{{"result":{{"tools":[{one}],"nextCursor":"c"}}}}"#));
    assert_eq!((ran.code, &*ran.out), (0, one_pin));
    assert!(ran.err.starts_with("standard input: warning: result.nextCursor: the answer is one page, "), "{}", ran.err);
}

#[test]
fn escapes_names_from_the_server() {
    let ran = pin(&["-"], r#"[{"name":"a\u001b[2J\u202e\n- name: b"}]"#);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.starts_with("- name: \"a\\x1b[2J\\u202e\\x0a- name: b\"\n  pin: [\""), "{}", ran.out);
    assert!(!ran.err.contains(['\u{1b}', '\u{202e}']) && ran.err.lines().count() == 1, "{:?}", ran.err);
}
