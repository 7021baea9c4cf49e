//! One thread of the generator: its connections, and the pacer that wakes them when messages are due.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use dispatcher::time::monotonic_now;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::answer::Answer;
use super::message::Mix;
use super::pace::Pace;
use super::tally::{Asked, Tally};
use super::tls::Tls;

/// How long answers are waited for after the last message was sent.
const ANSWERS_WAIT: Duration = Duration::from_secs(30);
/// A connection that cannot be made is tried again after this long, so often.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
const CONNECT_TRIES: u32 = 50;
/// First size of a connection's read buffer, in bytes.
const READ_BYTES: usize = 16 << 10;

/// Where connections of a thread go, and how.
#[derive(Clone)]
pub struct Route {
    /// Host and port.
    pub target: String,
    /// TLS, if it is spoken there.
    pub tls: Option<Tls>,
    /// Requests in flight on one connection.
    pub pipeline: usize,
}

/// What the tasks of a thread share.
pub struct Thread {
    route: Route,
    mix: Mix,
    pace: RefCell<Pace>,
    tally: RefCell<Tally>,
    due: Notify,
}

impl Thread {
    /// Sends `mix` as `pace` says and counts in `tally`; nothing is sent before [`Thread::run`].
    pub fn new(route: Route, mix: Mix, pace: Pace, tally: Tally) -> Self {
        Self { route, mix, pace: RefCell::new(pace), tally: RefCell::new(tally), due: Notify::new() }
    }

    /// Runs to the end of the plan and returns what came of it.
    pub fn run(self, connections: usize, limit: Duration) -> io::Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Rc::new(self);
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..connections {
                tasks.spawn_local(connection(Rc::clone(&thread)));
            }
            let all = async {
                pacer(&thread).await?;
                while tasks.join_next().await.is_some() {}
                Ok::<_, io::Error>(())
            };
            // Answers that are still missing then are reported as such.
            tokio::time::timeout(limit + ANSWERS_WAIT, all).await.unwrap_or(Ok(()))
        })?;
        Ok(thread.tally.take())
    }
}

/// Wakes a connection for each message when it is due. A timerfd, because tokio's timers are whole milliseconds.
async fn pacer(thread: &Thread) -> io::Result<()> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
    #[allow(deprecated, reason = "its successor is unsafe; an owned descriptor meets what that asks for")]
    let timer = AsyncFd::new(timer)?;
    loop {
        let now = monotonic_now();
        let (due, next) = thread.pace.borrow_mut().fall_due(now);
        for _ in 0..due {
            thread.due.notify_one();
        }
        let Some(next) = next else { break };
        let wait = next.saturating_duration_since(now).max(Duration::from_nanos(1));
        let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: wait };
        rustix::time::timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut ready = timer.readable().await?;
        let _ = rustix::io::read(timer.get_ref(), &mut [0; 8]);
        ready.clear_ready();
    }
    thread.due.notify_waiters();
    Ok(())
}

/// Keeps one connection busy until the plan is at its end, connecting again when it breaks.
async fn connection(thread: Rc<Thread>) {
    let mut tries = 0;
    while tries < CONNECT_TRIES && !thread.pace.borrow().is_finished(monotonic_now()) {
        let Ok(stream) = TcpStream::connect(&thread.route.target).await else {
            tries += 1;
            thread.tally.borrow_mut().connect_errors += 1;
            tokio::time::sleep(CONNECT_PAUSE).await;
            continue;
        };
        tries = 0;
        let _ = stream.set_nodelay(true);
        let ended = match &thread.route.tls {
            None => exchange(stream, &thread).await,
            Some(tls) => match tls.connector.connect(tls.server.clone(), stream).await {
                Ok(stream) => exchange(stream, &thread).await,
                Err(error) => Err(error),
            },
        };
        if ended.is_err() {
            thread.tally.borrow_mut().broken += 1;
        }
    }
}

/// Sends and reads answers until the plan is at its end (`Ok`) or the connection is.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, thread: &Thread) -> io::Result<()> {
    let pipeline = thread.route.pipeline;
    let mut asked: VecDeque<Asked> = VecDeque::with_capacity(pipeline);
    let mut output = Vec::new();
    let mut input = BytesMut::with_capacity(READ_BYTES);
    loop {
        let mut now = monotonic_now();
        while asked.len() < pipeline
            && let Some((id, due)) = thread.pace.borrow_mut().take(now)
        {
            let beside = thread.mix.append(id, &mut output);
            asked.push_back(Asked { id, due, sent: now, beside });
            thread.tally.borrow_mut().sent += 1;
            now = monotonic_now();
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
            // This matters to TLS alone, which may keep what was written in a buffer of its own.
            stream.flush().await?;
            output.clear();
        }
        if asked.is_empty() && thread.pace.borrow().is_finished(now) {
            return Ok(());
        }
        let room = asked.len() < pipeline && !thread.pace.borrow().is_finished(now);
        // A read that is dropped here has taken nothing: it is cancel-safe.
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut input) => read?,
            () = thread.due.notified(), if room => continue,
        };
        if read == 0 {
            return if asked.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        match settle(&mut input, &mut asked, thread)? {
            Settled::Closes => return Ok(()),
            Settled::Stays { retry_after: 0 } => {}
            Settled::Stays { retry_after } => tokio::time::sleep(Duration::from_secs(retry_after)).await,
        }
        input.reserve(READ_BYTES / 4);
    }
}

/// What becomes of a connection behind the answers that came.
enum Settled {
    Closes,
    /// `retry_after`: seconds for which the server asked to be left alone.
    Stays {
        retry_after: u64,
    },
}

/// Counts the complete answers in `input`.
fn settle(input: &mut BytesMut, asked: &mut VecDeque<Asked>, thread: &Thread) -> io::Result<Settled> {
    let now = monotonic_now();
    let mut retry_after = 0;
    let mut tally = thread.tally.borrow_mut();
    while let Some(answer) = Answer::read(input).map_err(|_| io::ErrorKind::InvalidData)? {
        input.advance(answer.bytes);
        if answer.status < 200 {
            continue;
        }
        let sent = asked.pop_front().ok_or(io::ErrorKind::InvalidData)?;
        tally.answer(sent, answer.status, now);
        retry_after = retry_after.max(answer.retry_after);
        if answer.close {
            return Ok(Settled::Closes);
        }
    }
    Ok(Settled::Stays { retry_after })
}
