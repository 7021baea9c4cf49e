//! `dispatcher log cat`: the records that were asked for as JSON Lines on stdout, what is damaged on stderr.

use std::io::{self, BufWriter, Write};
use std::ops::{ControlFlow, Range};
use std::path::Path;

use super::filter::{Filter, States};
use super::line::{Line, Shown};
use super::places::{self, DeadLetters, Place};
use super::walk::{Event, Segment, walk};
use super::{CatOptions, InspectError, Since, Verdict};
use crate::disk::portable::PortableDisk;
use crate::message::Origin;
use crate::time::{UnixMillis, unix_now};
use crate::wal::files::Files;
use crate::wal::recovery::RecoveryError;

/// Prints what `options` ask for.
pub async fn cat(options: &CatOptions) -> Result<Verdict, InspectError> {
    let dead_letters = if options.dead_letters { DeadLetters::Wanted } else { DeadLetters::Not };
    let origin = options.origin.as_deref().map(origin).transpose()?;
    let since = options.since.map(|since| match since {
        Since::At(time) => time,
        Since::Ago(span) => UnixMillis(unix_now().0.saturating_sub(span.0)),
    });
    let places = places::find(options.dir.as_deref(), dead_letters)?;
    let state = match options.state {
        Some(state) => Some((state, states(&places).await?)),
        None => None,
    };
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        shown: Shown { heads: options.heads, bodies: options.bodies },
        filter: Filter { ids: options.id.clone(), origin, state, since, ..Filter::default() },
        verdict: Verdict::Intact,
        failed: None,
    };
    for (number, place) in places.iter().enumerate() {
        let printed = walk(&files(place), &mut |event| printer.print(number, place, event)).await;
        // What was found before the log turned out to be unreadable is worth having.
        printer.flush();
        if printed?.is_break() {
            break;
        }
    }
    printer.end()
}

fn origin(text: &str) -> Result<Origin, InspectError> {
    let parsed = Origin::parse(text, places::bare_scheme());
    parsed.map_err(|source| InspectError::Origin { text: text.to_owned(), source })
}

fn files(place: &Place) -> Files<PortableDisk> {
    Files::new(PortableDisk, place.dir.clone(), place.shard)
}

/// What every message has come to.
async fn states(places: &[Place]) -> Result<States, RecoveryError> {
    let mut states = States::default();
    for (number, place) in places.iter().enumerate() {
        let mut apply = |event: Event<'_>| {
            if let Event::Record(visit) = event {
                states.apply((number, visit.at.segment, visit.at.offset), visit);
            }
            ControlFlow::Continue(())
        };
        let _ = walk(&files(place), &mut apply).await?;
    }
    Ok(states)
}

struct Printer<W> {
    out: W,
    shown: Shown,
    filter: Filter,
    verdict: Verdict,
    /// Why nothing more can be printed.
    failed: Option<io::Error>,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, number: usize, place: &Place, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Record(visit) => {
                if self.filter.takes((number, visit.at.segment, visit.at.offset), visit) {
                    let line = Line::new(place.shard, visit, self.shown);
                    let printed = serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from);
                    self.failed = printed.and_then(|()| self.out.write_all(b"\n")).err();
                }
            }
            Event::Segment(segment) => self.tell(segment),
            Event::Missing(segments) => {
                self.verdict = Verdict::Damaged;
                warn(&format!(
                    "{} lacks the segments from {} to {}",
                    place.dir.display(),
                    segments.start,
                    segments.end - 1
                ));
            }
            Event::Recycled => {}
            Event::Overtaken => warn(&format!(
                "{} was rewritten faster than it could be read: messages that moved meanwhile may be missing",
                place.dir.display()
            )),
        }
        if self.failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn tell(&mut self, segment: &Segment) {
        let at = |path: &Path, range: &Range<usize>| {
            format!("{} at offset {}, {} bytes", path.display(), range.start, range.len())
        };
        for range in &segment.damage {
            self.verdict = Verdict::Damaged;
            warn(&format!("damage in {}", at(&segment.path, range)));
        }
        if let Some(range) = &segment.torn {
            warn(&format!("torn tail, no damage, in {}", at(&segment.path, range)));
        }
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.out.flush().err();
        }
    }

    /// A reader that has seen enough is no failure.
    fn end(self) -> Result<Verdict, InspectError> {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(InspectError::Output(error)),
            Some(_) | None => Ok(self.verdict),
        }
    }
}

/// A line on stderr. Where that is closed, nobody wants it.
fn warn(line: &str) {
    let _ = writeln!(io::stderr(), "dispatcher: {line}");
}
