//! Which I/O a core runs on: `io_uring` where the kernel lets us, else the portable backend.

use std::io;

use crate::config::IoBackend;
use crate::limits::RING_ENTRIES;

/// The I/O that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Rings, with the flags that save wake-ups (`COOP_TASKRUN`, `SINGLE_ISSUER`, Linux 6.0) if `modern`.
    Uring {
        /// The kernel knows the flags.
        modern: bool,
    },
    /// Epoll for sockets, blocking threads for files.
    Portable,
}

impl Backend {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uring { .. } => "uring",
            Self::Portable => "portable",
        }
    }
}

/// What an operator can do where `io_uring` is forbidden.
pub const REMEDY: &str = "io_uring is not available: in a container allow io_uring_setup, io_uring_enter and \
     io_uring_register (--security-opt seccomp=deploy/seccomp.json), on the host check kernel.io_uring_disabled, or \
     set IO_BACKEND=portable";

/// Chooses by trying: a container's seccomp profile and `kernel.io_uring_disabled` show only when a ring is made.
///
/// Errors: with `IO_BACKEND=uring`, what the kernel said.
pub fn choose(wanted: IoBackend) -> io::Result<Backend> {
    match wanted {
        IoBackend::Portable => Ok(Backend::Portable),
        IoBackend::Uring => probe(),
        IoBackend::Auto => Ok(probe().unwrap_or_else(|error| {
            tracing::warn!(%error, "{REMEDY}. Running on the portable backend");
            Backend::Portable
        })),
    }
}

/// Makes a ring on a thread of its own, as a core would. Errors: what the kernel said.
pub fn probe() -> io::Result<Backend> {
    let attempt = |modern| {
        let probing = std::thread::spawn(move || tokio_uring::Runtime::new(&builder(modern)).map(drop));
        probing.join().unwrap_or_else(|_| Err(io::Error::other("the probe died")))
    };
    attempt(true)
        .map(|()| Backend::Uring { modern: true })
        .or_else(|_| attempt(false).map(|()| Backend::Uring { modern: false }))
}

/// The ring of one core.
fn builder(modern: bool) -> tokio_uring::Builder {
    let mut ring = tokio_uring::uring_builder();
    if modern {
        // Completions are reaped when this thread enters the kernel anyway, without an interrupt; and the kernel may
        // rely on one thread submitting.
        ring.setup_coop_taskrun().setup_single_issuer();
    }
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&ring);
    builder
}

/// Runs a core's main task to its end on the current thread, on a runtime with `spawn_local`.
pub fn run<F: Future>(backend: Backend, main: F) -> io::Result<F::Output> {
    match backend {
        Backend::Uring { modern } => Ok(tokio_uring::Runtime::new(&builder(modern))?.block_on(main)),
        Backend::Portable => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(tokio::task::LocalSet::new().block_on(&runtime, main))
        }
    }
}
