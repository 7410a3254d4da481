//! Reads event streams (`text/event-stream`), which MCP servers may answer with.

/// The fields that a line of an event stream can begin with.
const FIELDS: [&str; 4] = ["data", "event", "id", "retry"];

/// Returns whether a text is an event stream.
pub(super) fn is_stream(text: &str) -> bool {
    let first = without_mark(text).split(['\n', '\r']).find(|line| !line.is_empty()).unwrap_or_default();
    FIELDS.contains(&first.split(':').next().unwrap_or_default()) || first.starts_with(':')
}

/// Returns the data of each event that has some. The last event may lack the empty line that ends it, because editors and shells remove
/// such lines.
pub(super) fn data(text: &str) -> Vec<String> {
    let text = without_mark(text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut event) = (Vec::new(), Vec::new());
    for line in text.split('\n').chain([""]) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            event.push(value.strip_prefix(' ').unwrap_or(value));
        } else if line.is_empty() {
            events.push(std::mem::take(&mut event).join("\n"));
        }
    }
    events.retain(|data| !data.is_empty());
    events
}

/// Removes the byte order mark, which readers of event streams ignore.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_events_is_read_with_every_line_break() {
        let text = ": hello\nid: 1\ndata:\n\nevent: message\ndata: {\"a\":\ndata:1}\n\nid: 2\n\ndata\ndata: b: c";
        let expected = ["{\"a\":\n1}", "\nb: c"];
        for text in
            [text.to_owned(), text.replace('\n', "\r\n"), text.replace('\n', "\r"), format!("\u{feff}{text}\n\n")]
        {
            assert!(is_stream(&text), "{text:?}");
            assert_eq!(data(&text), expected, "{text:?}");
        }
    }

    #[test]
    fn json_and_other_texts_are_no_event_streams() {
        for text in ["{\"data\":1}", "[1]", "", "\n", "database: x", "<html>", "HTTP/1.1 200 OK\r\ndata: x", " data: x"]
        {
            assert!(!is_stream(text), "{text:?}");
        }
    }
}
