//! What all benches share: the part that counts, how often it allocates, and whether to be quick.

/// Allocations stand beside times.
#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

/// Whether this is `cargo bench`, which says so; else inputs are tiny.
pub fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Runs what is measured. A function of its own, so that callgrind can be told to count nothing else.
#[inline(never)]
pub fn counted<T>(run: impl FnOnce() -> T) -> T {
    run()
}
