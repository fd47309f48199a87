//! The bar of a long import, on stderr and only if that is a terminal.
//! `image` gives it to the import.
//! It must never leave anything on the line when it is done, nor be drawn more often than eyes see.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use wharf_image::Progress;

use super::size;

/// Between two drawings.
const FRAME: Duration = Duration::from_millis(100);
/// The bar's length, in columns.
const WIDTH: u64 = 24;

/// The bar of what goes on; without a terminal there is none.
#[derive(Debug)]
pub(crate) struct Bar {
    terminal: bool,
    what: String,
    done: u64,
    whole: u64,
    begun: Instant,
    drawn: Option<Instant>,
}

impl Bar {
    pub(crate) fn on_terminal() -> Bar {
        Bar {
            terminal: io::stderr().is_terminal(),
            what: String::new(),
            done: 0,
            whole: 0,
            begun: Instant::now(),
            drawn: None,
        }
    }

    /// How far what goes on is, where somebody else counts.
    pub(crate) fn stand(&mut self, what: &str, done: u64, whole: u64) {
        if what != self.what {
            what.clone_into(&mut self.what);
            self.begun = Instant::now();
        }
        (self.done, self.whole) = (done, whole);
        self.draw();
    }

    /// Takes the bar off the line.
    pub(crate) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn draw(&mut self) {
        let due = self.drawn.is_none_or(|last| last.elapsed() >= FRAME);
        if !self.terminal || !due {
            return;
        }
        self.drawn = Some(Instant::now());
        let milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let rate = self.done.saturating_mul(1000) / milliseconds.max(1);
        let what = format!("{}/s  {}", size(rate), self.what);
        let line = line(&what, self.done, self.whole, columns());
        // A terminal that went away is no reason to stop.
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }
}

impl Progress for Bar {
    fn begin(&mut self, what: &str, bytes: u64) {
        (self.what, self.done, self.whole) = (what.to_owned(), 0, bytes);
        self.draw();
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        self.draw();
    }
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    size.map_or(80, |size| usize::from(size.ws_col).max(1))
}

/// The line, no longer than the terminal: a wrapped one could not be drawn over.
fn line(what: &str, done: u64, whole: u64, columns: usize) -> String {
    let whole = whole.max(done).max(1);
    let filled = done.saturating_mul(WIDTH) / whole;
    let bar: String = (0..WIDTH)
        .map(|at| if at < filled { '#' } else { '.' })
        .collect();
    let percent = done.saturating_mul(100) / whole;
    let line = format!(
        "{bar} {percent:3} %  {} of {}  {what}",
        size(done),
        size(whole)
    );
    line.chars().take(columns.saturating_sub(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_line_fits_the_terminal_and_never_passes_the_end() {
        let half = line("0123456789ab", 500, 1000, 80);
        assert_eq!(
            half,
            "############............  50 %  500 B of 1.0 kB  0123456789ab"
        );
        assert_eq!(line("x", 500, 1000, 10).len(), 9);
        assert!(line("x", 2000, 1000, 80).contains("100 %  2.0 kB of 2.0 kB"));
        assert!(line("x", 0, 0, 80).contains("  0 %"));
    }
}
