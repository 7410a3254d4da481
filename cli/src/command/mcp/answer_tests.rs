use super::*;

/// Returns the place, the name and the text of each entry, or the problems.
fn read(text: &str) -> Result<Vec<(String, String, String)>, String> {
    let answer = Answer::read("a.json", text.as_bytes()).map_err(|wrong| wrong.to_string())?;
    let entries = answer.entries.into_iter();
    Ok(entries.map(|entry| (entry.place.to_string(), entry.name, entry.text)).collect())
}

fn entry(place: &str, name: &str, text: &str) -> (String, String, String) {
    (place.to_owned(), name.to_owned(), text.to_owned())
}

fn warnings(text: &str) -> Vec<String> {
    let answer = Answer::read("a.json", text.as_bytes()).unwrap();
    answer.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn reads_an_answer_in_each_form() {
    let tool = r#"{ "name":"a", "x": 1.0 }"#;
    let response = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tool}],"nextCursor":null}}}}"#);
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
    let stream = format!("id: 1\ndata:\n\ndata: {notification}\n\nevent: message\ndata: {response}\n\n");
    for (text, place) in [
        (response.as_str(), "result.tools[0]"),
        (&format!(r#"{{"tools":[{tool}]}}"#), "tools[0]"),
        (&format!("\n[ {tool} ]\n"), "[0]"),
        (&stream, "events[1].result.tools[0]"),
        (&stream.replace('\n', "\r\n"), "events[1].result.tools[0]"),
    ] {
        assert_eq!(read(text), Ok(vec![entry(place, "a", tool)]), "{text}");
        assert_eq!(warnings(text), [""; 0], "{text}");
    }
}

#[test]
fn reads_every_list_of_a_result() {
    let text = r#"{"result":{"prompts":[{"name":"p"}],"resources":[{"uri":"urn:r","name":"n"}],"resourceTemplates":[{"uriTemplate":"a://{x}"}],
                   "tools":[{"name":"\u0074"},{"name":"u"}],"cacheScope":"public"}}"#;
    let names: Vec<String> = read(text).unwrap().into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["t", "u", "urn:r", "a://{x}", "p"]);
}

#[test]
fn rejects_what_readers_could_understand_differently() {
    for (text, message) in [
        (r#"{"result":{"tools":[{"name":"a"}],"tools":[]}}"#, "the name `tools` occurs twice at line 1 column "),
        (r#"[{"name":"a","n\u0061me":"b"}]"#, "the name `name` occurs twice at line 1 column "),
        (r#"[{"name":"a"},{"name":"b"},{"name":"a"}]"#, "a.json: [2]: `a` is already at [0], so it identifies neither"),
        (r#"[{"name":"a"},{"name":"A"},{"name":"A"}]"#, "a.json: [2]: `A` is already at [1], so it identifies neither"),
        (r#"{"tools":[{"name":"a"},{"name":"\u0061"}]}"#, "a.json: tools[1]: `a` is already at tools[0], "),
        (r#"[{"name":"a","Name":"b"}]"#, "a.json: [0].name: some readers read the member `Name` as `name`"),
        (r#"[{"Name":"b"}]"#, "a.json: [0].name: some readers read the member `Name` as `name`"),
        ("\u{feff}[]", "a.json: this begins with a byte order mark; remove it"),
        (&format!("[{{\"name\":{}1}}]", "[".repeat(64)), "nested too deeply at line 1 column "),
    ] {
        let told = read(text).unwrap_err();
        assert!(told.contains(message), "{text}: {told}");
    }
    let told = Answer::read("a.json", b"[\"\xff\"]").unwrap_err().to_string();
    assert_eq!(told, "a.json: not UTF-8 text; save the answer as the server sends it");
}

#[test]
fn rejects_other_documents_and_names_them() {
    let data = |event: &str| format!("data: {event}\n\n");
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}"#;
    for (text, message) in [
        ("", "a.json: the answer is empty; save it again"),
        ("<!doctype html>", "a.json: this is an HTML or XML page; expected JSON or an event stream"),
        ("HTTP/1.1 200 OK\r\n\r\n{}", "a.json: this begins with the headers of an HTTP response; save only its body"),
        ("tools", "a.json: not JSON that every reader understands the same way: expected ident at line 1 "),
        ("{}{}", "a.json: not JSON that every reader understands the same way: trailing characters at line 1 "),
        ("{}", "a.json: no tools, resources or prompts; expected a server's answer to `tools/list`, "),
        ("3", "a.json: no tools, resources or prompts; "),
        ("[]", "a.json: no tools, resources or prompts; "),
        (r#"{"result":{"content":[]}}"#, "a.json: result: no tools, resources or prompts; "),
        (r#"{"result":{"tools":{}}}"#, "a.json: result.tools: not an array; "),
        (r#"{"result":{"tools":[1]}}"#, "a.json: result.tools[0]: not a JSON object; "),
        (r#"{"result":{"tools":[{"title":"a"}]}}"#, "a.json: result.tools[0].name: required member is missing; "),
        (
            r#"{"result":{"tools":[{"name":""}]}}"#,
            "a.json: result.tools[0].name: not a text that could identify the entry; ",
        ),
        (r#"{"result":{"resources":[{"uri":1}]}}"#, "a.json: result.resources[0].uri: not a text that could "),
        (
            r#"{"error":{"code":-32601,"message":"no \u001b[2J"}}"#,
            "a.json: error: the server answered with the error `no \\u{1b}[2J`; ",
        ),
        (&format!("[{response}]"), "a.json: this is a batch of messages; save the answer to one request"),
        (&data("{}"), "a.json: the event stream has no response; save all of it, until the server ends it"),
        (&data("{"), "a.json: events[0]: not JSON that every reader understands the same way: EOF "),
        (&data(response).repeat(2), "a.json: events[1]: this is a second response; save the answer to one request"),
    ] {
        let told = read(text).unwrap_err();
        assert!(told.starts_with(message), "{text}: {told}");
    }
}

#[test]
fn reports_all_problems_of_entries() {
    let told = read(r#"{"tools":[1,{"name":"a"},{"name":"a"},{}],"prompts":[2]}"#).unwrap_err();
    let places: Vec<&str> = told.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(places, ["tools[0]", "tools[2]", "tools[3].name", "prompts[0]"]);
}

#[test]
fn warns_about_further_pages_and_names_that_look_like_others() {
    for (text, message) in [
        (
            r#"{"result":{"tools":[{"name":"a"}],"nextCursor":"x"}}"#,
            "a.json: warning: result.nextCursor: the answer is one page, ",
        ),
        (r#"{"tools":[{"name":"a"}],"nextCursor":""}"#, "a.json: warning: nextCursor: the answer is one page, "),
        (r#"[{"name":"pay"},{"name":"Pay"}]"#, "a.json: warning: [1]: `Pay` differs from [0] only in case, "),
        ("[{\"name\":\"p\u{430}y\"}]", "a.json: warning: [0]: `p\u{430}y` has characters other than ASCII letters, "),
        (r#"[{"name":"pay "}]"#, "a.json: warning: [0]: `pay ` has characters other than ASCII letters, "),
        (r#"{"prompts":[{"name":"\u202epay"}]}"#, "a.json: warning: prompts[0]: `\\u{202e}pay` has characters "),
    ] {
        let told = warnings(text);
        assert!(matches!(&*told, [only] if only.starts_with(message)), "{text}: {told:?}");
    }
    assert_eq!(
        warnings(r#"{"tools":[{"name":"a.b/c-d_1"}],"prompts":[{"name":"a.b/c-d_1"}],"resources":[{"uri":"urn:é"}]}"#),
        [""; 0]
    );
}

#[test]
fn pins_depend_on_the_definition_as_the_server_wrote_it() {
    let pins = |text: &str| -> Vec<Result<String, String>> {
        let answer = Answer::read("a.json", text.as_bytes()).unwrap();
        let pins = answer.entries.iter().map(|entry| answer.pin(entry).map_err(|error| error.to_string()));
        pins.collect()
    };
    // From another implementation of RFC 8785.
    let pin = "fca38bbe054d6d58457ef3eb9c091424ec585540003612cd645671a1c232fd48";
    for maximum in ["100", "1.0e2", "100.00"] {
        let schema = format!(r#"{{"type":"object","properties":{{"limit":{{"maximum":{maximum},"minimum":0.5}}}}}}"#);
        let one = format!(r#"[{{"name":"a","inputSchema":{schema}}}]"#);
        let other = format!("{{\"result\":{{\"tools\":[\n{{\"inputSchema\" : {schema},\t\"n\\u0061me\":\"a\"}}]}}}}");
        assert_eq!((pins(&one), pins(&other)), (vec![Ok(pin.to_owned())], vec![Ok(pin.to_owned())]), "{maximum}");
    }
    // A parsed value would have a nearby number, and a pin that the filter never computes.
    let inexact =
        pins(r#"{"tools":[{"name":"a","x":0.1234567890123456789},{"name":"a2","x":9007199254740993},{"name":"b"}]}"#);
    let message = "a.json: tools[0]: the definition has no pin, because it contains a number with more than 15 significant digits";
    assert!(matches!(&inexact[0], Err(told) if told.starts_with(message)), "{inexact:?}");
    assert!(inexact[1].is_err() && inexact[2].is_ok(), "{inexact:?}");
}
