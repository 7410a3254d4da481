//! A picture of the demo's output for the README, drawn from the real output.

use std::fmt::Write as _;

/// The file of the picture, relative to the root.
pub const PICTURE: &str = "docs/demo.svg";

const LINE_HEIGHT: usize = 19;
const COLUMN_WIDTH: f32 = 7.8;
const MARGIN: usize = 18;
const GREEN: &str = "#3fb950";
const RED: &str = "#f85149";
const YELLOW: &str = "#d29922";

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
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"13\" fill=\"#e6edf3\">\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let y = MARGIN + 13 + index * LINE_HEIGHT;
        for (column, cell) in cells(line) {
            let x = MARGIN as f32 + column as f32 * COLUMN_WIDTH;
            // Writing to a string does not fail.
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\">{}</text>", colored(cell));
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// Splits a line at two or more spaces, into texts with their columns. Each gets a fixed position, which does not depend on
/// the width of spaces in the reader's font.
fn cells(line: &str) -> Vec<(usize, &str)> {
    let mut cells = Vec::new();
    let mut rest = line;
    let mut column = 0;
    while !rest.is_empty() {
        let text = rest.trim_start();
        column += rest.chars().count() - text.chars().count();
        let (cell, after) = text.split_at(text.find("  ").unwrap_or(text.len()));
        if !cell.is_empty() {
            cells.push((column, cell));
        }
        column += cell.chars().count();
        rest = after;
    }
    cells
}

/// Colors a mark and a status, and leaves other text as it is.
fn colored(cell: &str) -> String {
    let span = |color: &str, text: &str| format!("<tspan fill=\"{color}\">{text}</tspan>");
    let is_status = cell.len() == 3 && cell.bytes().all(|byte| byte.is_ascii_digit());
    match cell.chars().next() {
        Some('✓') => span(GREEN, "✓") + &escaped(cell.trim_start_matches('✓')),
        Some('✗') => span(RED, "✗") + &escaped(cell.trim_start_matches('✗')),
        Some('2') if is_status => span(GREEN, cell),
        Some(_) if is_status => span(YELLOW, cell),
        _ => escaped(cell),
    }
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
        assert!(svg.contains(">request</text>") && svg.contains(">got</text>"), "{svg}");
        assert!(svg.contains("✓</tspan> a &lt;b&gt;</text>") && svg.contains("#3fb950\">200</tspan>"), "{svg}");
        assert!(svg.contains("✗</tspan> c</text>") && svg.contains("#d29922\">403</tspan>"), "{svg}");
        assert_eq!(cells("  a  b c   ✓ d"), [(2, "a"), (5, "b c"), (11, "✓ d")]);
        // XML allows no two hyphens inside a comment.
        let comment = svg.split_once("<!--").and_then(|(_, rest)| rest.split_once("-->")).map(|(comment, _)| comment);
        assert!(comment.is_some_and(|comment| !comment.contains("--")), "{svg}");
    }
}
