//! The manual pages, made of the same description as `--help`.

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

/// The page of the whole, as roff(7).
pub fn page(command: Command) -> io::Result<Vec<u8>> {
    render(&Man::new(command.disable_help_subcommand(true)))
}

/// Writes a page for each command into a directory that is there.
pub fn pages_into(command: Command, directory: &Path) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    // Gives each command below it the name of its page.
    command.build();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().cloned());
        let man = Man::new(command);
        std::fs::write(directory.join(man.get_filename()), render(&man)?)?;
    }
    Ok(())
}

/// What stands below the options is in columns, and must not be filled.
fn render(man: &Man) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    let Some((before, notes)) = page.split_once(".SH EXTRA\n") else { return Ok(page.into()) };
    let end = notes.find("\n.SH ").map_or(notes.len(), |at| at + 1);
    let (notes, after) = notes.split_at(end);
    Ok(format!("{before}.SH NOTES\n.nf\n{notes}\n.fi\n{after}").into())
}
