//! A picture of the demo's output for the README, drawn from the real output.

use std::fmt::Write as _;

/// The file of the picture, relative to the root.
pub const PICTURE: &str = "docs/demo.svg";

const LINE_HEIGHT: usize = 19;
const COLUMN_WIDTH: f32 = 7.8;
const MARGIN: usize = 18;

/// Draws lines of text as they look in a terminal, as SVG. Marks and statuses have colors.
pub fn picture(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let columns = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let (height, width) = (lines.len() * LINE_HEIGHT + 2 * MARGIN, columns as f32 * COLUMN_WIDTH + 2.0 * MARGIN as f32);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height}\" role=\"img\" \
         aria-label=\"The output of cargo demo\">\n\
         <!-- Drawn by `cargo harness picture` from the output of `cargo demo`. -->\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"13\" fill=\"#e6edf3\" \
         xml:space=\"preserve\" style=\"white-space: pre\">\n"
    );
    for (index, line) in lines.iter().enumerate() {
        // Writing to a string does not fail.
        let _ =
            writeln!(svg, "<text x=\"{MARGIN}\" y=\"{}\">{}</text>", MARGIN + 13 + index * LINE_HEIGHT, colored(line));
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// Colors the mark and the status of a row, and leaves other lines as they are.
fn colored(line: &str) -> String {
    let span = |color: &str, text: &str| format!("<tspan fill=\"{color}\">{text}</tspan>");
    let mark = match line.chars().next() {
        Some('✓') => span("#3fb950", "✓"),
        Some('✗') => span("#f85149", "✗"),
        _ => return escaped(line),
    };
    let rest = escaped(line.trim_start_matches(['✓', '✗']));
    let is_status = |word: &str| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    let Some(status) = rest.split(' ').find(|word| is_status(word)) else { return mark + &rest };
    let color = if status.starts_with('2') { "#3fb950" } else { "#d29922" };
    mark + &rest.replacen(status, &span(color, status), 1)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_rows_and_escapes_text() {
        let svg = picture("  request  got\n✓ a <b>    200\n✗ c        403\n");
        assert!(svg.contains(">  request  got<"), "{svg}");
        assert!(svg.contains("✓</tspan> a &lt;b&gt;    <tspan fill=\"#3fb950\">200</tspan></text>"), "{svg}");
        assert!(
            svg.contains("<tspan fill=\"#f85149\">✗</tspan> c        <tspan fill=\"#d29922\">403</tspan>"),
            "{svg}"
        );
        assert_eq!(svg.matches("<text ").count(), 3);
        // XML allows no two hyphens inside a comment.
        let comment = svg.split_once("<!--").and_then(|(_, rest)| rest.split_once("-->")).map(|(comment, _)| comment);
        assert!(comment.is_some_and(|comment| !comment.contains("--")), "{svg}");
    }
}
