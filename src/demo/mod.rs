//! placeholder, replaced below
/// Options.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {}
/// Run.
pub fn run(_options: &Options) -> std::process::ExitCode { std::process::ExitCode::FAILURE }
