//! Everything that wharf prints: results on stdout, warnings on stderr, tables, colours.
//! Commands call it with finished text; colours appear on a terminal only (and not with NO_COLOR).
//! It must never be used for a container's own output, which does not pass through wharf.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Prints `text` to stdout. A reader that has gone away (`wharf ps | head -1`) is no error.
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Prints a JSON document, indented.
pub(crate) fn print_json(document: &Value) {
    print(&format!("{document:#}\n"));
}

/// Prints a warning: something is not as it should be, and wharf goes on.
pub(crate) fn warn(text: &str) {
    complain(
        &paint(Colour::Yellow, "warning", io::stderr().is_terminal()),
        text,
    );
}

/// Prints the error that ends wharf.
pub(crate) fn fail(text: &str) {
    complain(
        &paint(Colour::Red, "wharf", io::stderr().is_terminal()),
        text,
    );
}

fn complain(who: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{who}: {text}");
}

/// What a word means, in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Fine.
    Green,
    /// Look here.
    Yellow,
    /// Wrong.
    Red,
    /// A heading.
    Bold,
}

/// `text` in `colour` if stdout is a terminal that wants colours.
pub(crate) fn coloured(colour: Colour, text: &str) -> String {
    paint(colour, text, io::stdout().is_terminal())
}

fn paint(colour: Colour, text: &str, terminal: bool) -> String {
    let wanted = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if !wanted {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Green => "32",
        Colour::Yellow => "33",
        Colour::Red => "31",
        Colour::Bold => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A table with left-aligned columns, two spaces apart; the last column is not padded.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Table {
        let headings = headings.iter().map(|&heading| heading.to_owned()).collect();
        Table {
            rows: vec![headings],
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            let line = line.trim_end();
            text.push_str(&match number {
                0 => coloured(Colour::Bold, line),
                _ => line.to_owned(),
            });
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec!["a-long-name".into(), "up".into()]);
        table.row(vec!["b".into(), String::new()]);
        assert_eq!(table.render(), "NAME         STATE\na-long-name  up\nb\n");
    }
}
