//! The scanner over a segment: bytes of the fuzzer, or segments that the writer left and that something happened to.
#![no_main]

#[allow(dead_code, reason = "each target uses its part")]
mod damaged;

use damaged::choices::Choices;
use damaged::scanned::scan_every_way;
use damaged::written::Written;
use damaged::{harms, verdict};
use dispatcher::wal::layout::Position;
use dispatcher::wal::segment::Sealed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [mode, rest @ ..] = input else { return };
    match mode % 4 {
        0 => raw(*mode, rest),
        _ => {
            let mut choices = Choices::Bytes(rest);
            let written = Written::new(&mut choices, 1);
            let image = harms::harmed(&written, &mut choices);
            verdict::check_scans(&written, &image, &mut choices);
        }
    }
});

/// The bytes as they are: whatever they say, the scan ends, and says the same however it is fed.
fn raw(mode: u8, bytes: &[u8]) {
    let [batches, torn, image @ ..] = bytes else { return };
    let start = Position { shard: 3, segment: 42, salt: (mode & 4 != 0).then_some(0xC0FF_EE11), offset: 0 };
    let sealed = (mode & 8 != 0).then_some(Sealed { batches: (*batches).into(), torn: torn % 2 == 1 });
    scan_every_way(image, start, sealed, &mut Choices::of_seed((*torn).into()));
}
