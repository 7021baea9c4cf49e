//! The live view: the lines of an interval on a terminal of their own, until a key ends it.

use std::io::{self, Write};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Watch;
use super::figures::Figures;
use crate::time::monotonic_now;

/// How long a signal may wait to be heard.
const SLICE: Duration = Duration::from_millis(200);
/// Lines that are there whatever the destinations: of those there are as many as there is room for.
const LINES_BESIDES: usize = 22;

/// The terminal as it is while we have it; dropping it gives it back as it was.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// What ends a wait.
enum Woken {
    /// The interval is over.
    Due,
    /// The terminal has another size.
    Resized,
    /// Somebody wants to leave.
    Leave,
}

/// Shows the daemon until a key or signal ends it, or after so many intervals. `false`: it was gone then.
pub fn run(watch: &mut Watch, interval: Duration, count: Option<u64>) -> io::Result<bool> {
    let mut terminate = watch.runtime.block_on(async { signal(SignalKind::terminate()) })?;
    let _screen = Screen::enter()?;
    let mut shown: Option<Figures> = None;
    let mut left = count.unwrap_or(u64::MAX);
    loop {
        if let Ok(figures) = watch.look() {
            shown = Some(figures);
        }
        draw(watch, shown.as_ref())?;
        if left == 0 {
            return Ok(watch.gone.is_none());
        }
        let due = monotonic_now() + interval;
        loop {
            match wait(watch, &mut terminate, due.saturating_duration_since(monotonic_now()))? {
                Woken::Due => break,
                Woken::Resized => draw(watch, shown.as_ref())?,
                Woken::Leave => return Ok(watch.gone.is_none()),
            }
        }
        left -= 1;
    }
}

fn wait(watch: &Watch, terminate: &mut Signal, longest: Duration) -> io::Result<Woken> {
    let due = monotonic_now() + longest;
    loop {
        let has_signal = async {
            tokio::select! {
                biased;
                _ = terminate.recv() => true,
                () = tokio::time::sleep(Duration::ZERO) => false,
            }
        };
        if watch.runtime.block_on(has_signal) {
            return Ok(Woken::Leave);
        }
        let left = due.saturating_duration_since(monotonic_now());
        if event::poll(left.min(SLICE))? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    let ends = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
                    let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if ends || interrupts {
                        return Ok(Woken::Leave);
                    }
                }
                Event::Resize(..) => return Ok(Woken::Resized),
                _ => {}
            }
        } else if left.is_zero() {
            return Ok(Woken::Due);
        }
    }
}

fn draw(watch: &Watch, figures: Option<&Figures>) -> io::Result<()> {
    let (columns, rows) = size()?;
    let (columns, rows) = (usize::from(columns), usize::from(rows));
    let mut lines = figures.map(|figures| watch.lines(figures, rows.saturating_sub(LINES_BESIDES))).unwrap_or_default();
    let state = match &watch.gone {
        Some(why) => format!("GONE: {why}; it is looked for again (q ends)"),
        None => "q ends".to_owned(),
    };
    lines.truncate(rows.saturating_sub(1));
    let mut out = io::stdout().lock();
    queue!(out, MoveTo(0, 0))?;
    for line in &lines {
        queue!(out, Print(cut(line, columns)), Clear(ClearType::UntilNewLine), Print("\r\n"))?;
    }
    queue!(out, Clear(ClearType::FromCursorDown), MoveTo(0, last_row(rows)), Print(cut(&state, columns)))?;
    out.flush()
}

fn last_row(rows: usize) -> u16 {
    u16::try_from(rows.saturating_sub(1)).unwrap_or(u16::MAX)
}

/// As many letters as there are columns. Names of origins are ASCII, and so is the rest.
fn cut(line: &str, columns: usize) -> String {
    line.chars().filter(|letter| !letter.is_control()).take(columns).collect()
}
