//! What a request costs from its bytes to a draft, and its answer, without sockets.

use std::hint::black_box;

use dispatcher::ingress::control_fields::ControlRules;
use dispatcher::ingress::framing::Framing;
use dispatcher::ingress::head::{self, Rules};
use dispatcher::ingress::outbound::{self, Fate, Message};
use dispatcher::ingress::refusal::Refusal;
use dispatcher::ingress::reply::{self, Date, Persistence};
use dispatcher::ingress::requests::{Event, Requests};
use dispatcher::ingress::scan::Scanner;
use dispatcher::ingress::target;
use dispatcher::ingress::tokens::Door;
use dispatcher::message::policy::Policy;
use dispatcher::message::{IdSource, Origin, Scheme};
use dispatcher::metrics::RefusedReason;
use dispatcher::time::{Millis, UnixMillis};
use divan::Bencher;

#[allow(dead_code, reason = "each bench uses its part")]
mod support;

use support::counted;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const BODY_BYTES: usize = 1024;
const RULES: Rules = Rules {
    control: ControlRules {
        origin_scheme: Scheme::Http,
        timeout_max: Millis(1_800_000),
        own_port: 8080,
        own_scheme: Scheme::Http,
        is_own_address: |address| address.is_loopback(),
        policy: Policy::DEFAULT,
    },
    head_bytes_max: 64 << 10,
    body_bytes_max: 1 << 20,
    door: Door::OPEN,
};
/// Further fields of a head: none, and as many as come through a proxy or two.
const MORE_FIELDS: [usize; 2] = [0, 16];

fn main() {
    divan::main();
}

fn head_of(more_fields: usize) -> Vec<u8> {
    let more: String =
        (0..more_fields).map(|number| format!("X-Forwarded-Detail-{number}: some value of usual length\r\n")).collect();
    format!(
        "POST /hook?from=bench HTTP/1.1\r\nHost: dispatcher.test:8080\r\nX-Dispatcher-Origin-Host: origin.test:9000\r\n\
         Content-Type: application/json\r\nUser-Agent: bench\r\n{more}Content-Length: {BODY_BYTES}\r\n\r\n"
    )
    .into_bytes()
}

#[divan::bench(args = MORE_FIELDS)]
fn find_end_of_head(bencher: Bencher<'_, '_>, more_fields: usize) {
    let head = head_of(more_fields);
    bencher.bench_local(|| counted(|| Scanner::default().scan(black_box(&head), RULES.head_bytes_max)));
}

/// With the outbound head, which is written on the way.
#[divan::bench(args = MORE_FIELDS)]
fn parse_head(bencher: Bencher<'_, '_>, more_fields: usize) {
    let head = head_of(more_fields);
    // As on a kept connection.
    let (mut destination, mut outbound) = (None, Vec::new());
    bencher.bench_local(|| counted(|| head::parse(black_box(&head), &RULES, &mut destination, &mut outbound)));
}

#[divan::bench(args = MORE_FIELDS)]
fn write_outbound_head(bencher: Bencher<'_, '_>, more_fields: usize) {
    let head = head_of(more_fields);
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(&head).expect("a head");
    let fates: Vec<Fate> = request
        .headers
        .iter()
        .map(|field| match field.name {
            "Host" => Fate::Host,
            "Content-Length" => Fate::Length,
            "X-Dispatcher-Origin-Host" => Fate::Drop,
            _ => Fate::Keep,
        })
        .collect();
    let target = target::read("POST", "/hook?from=bench").expect("a target");
    let message = Message {
        bytes: &head,
        method: "POST",
        target: &target,
        fields: request.headers,
        fates: &fates,
        framing: Framing::Length(BODY_BYTES),
    };
    let mut out = Vec::new();
    bencher.bench_local(|| counted(|| outbound::write(black_box(&message), "origin.test:9000", &mut out)));
}

/// From the bytes in the buffer to the draft: all of the above and the body.
#[divan::bench(args = MORE_FIELDS)]
fn take_request(bencher: Bencher<'_, '_>, more_fields: usize) {
    let mut bytes = head_of(more_fields);
    bytes.resize(bytes.len() + BODY_BYTES, b'x');
    let mut requests = Requests::default();
    bencher.bench_local(|| {
        counted(|| {
            let wanted_bytes = requests.make_room(&RULES).max(bytes.len());
            let mut buffer = requests.take_buffer(wanted_bytes);
            buffer.extend_from_slice(black_box(&bytes));
            requests.fill(buffer);
            loop {
                match requests.next(&RULES) {
                    Event::Admit { .. } => requests.admit(&RULES),
                    Event::Message { draft, .. } => break assert_eq!(black_box(draft).body.len(), BODY_BYTES),
                    other => panic!("{other:?} of a whole message"),
                }
            }
        });
    });
}

#[divan::bench]
fn answer_accepted(bencher: Bencher<'_, '_>) {
    let (date, id, mut out) = (Date::at(NOW), IdSource::new(1).next(NOW), Vec::new());
    bencher.bench_local(|| {
        counted(|| {
            out.clear();
            reply::push_accepted(&mut out, black_box(&date), id, Persistence::Open);
        });
    });
}

#[divan::bench]
fn answer_refused(bencher: Bencher<'_, '_>) {
    let (date, mut out) = (Date::at(NOW), Vec::new());
    let refusal = Refusal::new(RefusedReason::Malformed, "The head is not complete (RFC 9112 §2.1).");
    bencher.bench_local(|| {
        counted(|| {
            out.clear();
            reply::push_refusal(&mut out, black_box(&date), &refusal, Persistence::Close, false);
        });
    });
}

#[divan::bench(args = ["10.0.0.1:8080", "orders.internal.example", "https://[2001:db8::1]"])]
fn parse_origin(bencher: Bencher<'_, '_>, text: &str) {
    bencher.bench_local(|| counted(|| Origin::parse(black_box(text), Scheme::Http)));
}
