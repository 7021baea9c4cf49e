//! The figures of an interval as lines of text.

use super::figures::{Figures, Latency};

/// Destinations shown where nothing says how many there is room for.
pub const ORIGINS_SHOWN: usize = 10;

/// The lines, with so many destinations at most; `place` is where the daemon was asked.
pub fn lines(figures: &Figures, place: &str, time: &str, origins_max: usize) -> Vec<String> {
    let Figures { daemon, rates, messages, .. } = figures;
    let interval =
        figures.seconds.map_or_else(|| "no interval yet".to_owned(), |seconds| format!("last {seconds:.1} s"));
    let uptime = daemon.uptime.map(|uptime| format!(", up {}", span(uptime))).unwrap_or_default();
    let phases: Vec<String> = daemon.phases.iter().map(|(phase, shards)| format!("{shards} {phase}")).collect();
    let phases = if phases.is_empty() { String::new() } else { format!(" ({})", phases.join(", ")) };
    let cores = if daemon.shards == 1 { "core" } else { "cores" };
    let mut lines = vec![
        format!(
            "dispatcher {} at {place}: {}, {} {cores}{phases}{uptime}; {time}, {interval}",
            daemon.version, daemon.backend, daemon.shards
        ),
        String::new(),
        row("", ["accepted", "delivered", "refused", "failed", "dead letters"].map(str::to_owned)),
        row(
            "per second",
            [rates.accepted, rates.delivered, rates.refused, rates.failed, rates.dead_lettered].map(rate),
        ),
    ];
    for (name, by) in [("  refused", &rates.refused_by), ("  failed", &rates.failed_by)] {
        if !by.is_empty() {
            let parts: Vec<String> =
                by.iter().map(|(what, per_second)| format!("{what} {}", rate(*per_second))).collect();
            lines.push(format!("{name:<11} {}", parts.join(", ")));
        }
    }
    lines.push(String::new());
    lines.push(row("latency", ["p50", "p90", "p99", "count"].map(str::to_owned)));
    lines.extend(figures.latencies.iter().map(latency));
    lines.push(String::new());
    lines.push(format!(
        "messages    {} ready, {} in flight, {} delayed; the oldest is {} old; {} dead letters",
        count(messages.ready),
        count(messages.in_flight),
        count(messages.delayed),
        span(messages.oldest),
        count(messages.dead_letters)
    ));
    lines.push(log(figures));
    lines.push(memory(figures));
    lines.push(format!("circuits    {} open", count(messages.open_circuits)));
    lines.extend(origins(figures, origins_max));
    lines
}

fn row<const N: usize>(name: &str, cells: [String; N]) -> String {
    let mut line = format!("{name:<11}");
    for cell in cells {
        line.push_str(&format!(" {cell:>13}"));
    }
    line
}

fn latency(latency: &Latency) -> String {
    let shown = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), short);
    let Latency { what, count: events, p50, p90, p99 } = latency;
    row(&format!("  {what}"), [shown(*p50), shown(*p90), shown(*p99), format!("{events:.0}")])
}

fn log(figures: &Figures) -> String {
    let space = &figures.log;
    let mut line = format!("log         {}, {} of it alive", size(space.bytes), size(space.live));
    for (name, bytes) in [("bound", space.bound), ("disk free", space.disk_free), ("reserve", space.reserve)] {
        if let Some(bytes) = bytes {
            line.push_str(&format!("; {name} {}", size(bytes)));
        }
    }
    line
}

fn memory(figures: &Figures) -> String {
    let usage = &figures.memory;
    let resident = usage.resident.map(|bytes| format!("; {} resident", size(bytes))).unwrap_or_default();
    format!(
        "memory      {} of {} taken{resident}; connections {} in, {} out",
        size(usage.taken),
        size(usage.most),
        count(usage.connections_in),
        count(usage.connections_out)
    )
}

fn origins(figures: &Figures, most: usize) -> Vec<String> {
    if figures.origins.is_empty() || most == 0 {
        return Vec::new();
    }
    let heading = ["messages", "delivered/s", "failed/s", "circuit"].map(str::to_owned);
    let mut lines = vec![String::new(), row("origins", heading)];
    for origin in figures.origins.iter().take(most) {
        let circuit = match origin.open_circuits {
            0 => "closed".to_owned(),
            1 => "OPEN".to_owned(),
            several => format!("{} OPEN", count(several)),
        };
        let cells = [count(origin.messages), rate(origin.delivered), rate(origin.failed), circuit];
        lines.push(format!("{}  {}", row("", cells), origin.origin));
    }
    if figures.origins.len() > most {
        lines.push(format!("            and {} more", figures.origins.len() - most));
    }
    lines
}

/// With a fraction only where it tells something.
fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        format!("{per_second:.1}")
    } else {
        grouped(&format!("{per_second:.0}"))
    }
}

fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// Digits in threes.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    #[allow(clippy::cast_precision_loss, reason = "it is shown with one digit")]
    let mut left = bytes as f64;
    let mut unit = 0;
    while left >= 1024.0 && unit + 1 < units.len() {
        left /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{left:.1} {}", units[unit]) }
}

/// A latency.
fn short(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0} us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        span(seconds)
    }
}

/// An age.
fn span(seconds: f64) -> String {
    let [minute, hour, day] = [60.0, 3600.0, 86_400.0];
    if seconds < minute {
        format!("{seconds:.1} s")
    } else if seconds < hour {
        format!("{:.0} m {:.0} s", (seconds / minute).floor(), (seconds % minute).floor())
    } else if seconds < day {
        format!("{:.0} h {:.0} m", (seconds / hour).floor(), (seconds % hour / minute).floor())
    } else {
        format!("{:.0} d {:.0} h", (seconds / day).floor(), (seconds % day / hour).floor())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scrape::Scrape;
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.25, 9.94, 1234.6, 1e6].map(rate), ["0", "0.2", "9.9", "1,235", "1,000,000"]);
        assert_eq!([0, 999, 1536, 3 << 30].map(size), ["0 B", "999 B", "1.5 KiB", "3.0 GiB"]);
        assert_eq!([0.000_05, 0.0123, 1.5, 61.0].map(short), ["50 us", "12.3 ms", "1.5 s", "1 m 1 s"]);
        assert_eq!([3661.0, 90_000.0].map(span), ["1 h 1 m", "1 d 1 h"]);
    }

    #[test]
    fn an_origin_whose_circuit_is_open_stands_out_and_those_without_room_are_counted() {
        let text = "dispatcher_origin_messages{origin=\"http://b\"} 7000\ndispatcher_origin_breaker_open{origin=\"http://b\"} 1\n\
                    dispatcher_origin_messages{origin=\"http://c\"} 1\ndispatcher_origin_messages{origin=\"http://d\"} 1\n";
        let figures = Figures::of(&Scrape::parse(text), None, 0.0);
        let text = lines(&figures, "127.0.0.1:8081", "now", 1).join("\n");
        assert!(text.contains("7,000") && text.contains("OPEN  http://b\n") && text.ends_with("and 2 more"), "{text}");
        assert!(text.contains("no interval yet") && !text.contains("http://c"), "{text}");
    }
}
