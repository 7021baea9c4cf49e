//! What is read from files at the start and again on SIGHUP: what is good is published to the cores, what is not leaves in
//! force what was read before.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::manager::Manager;
use crate::reload::Publisher;
use crate::telemetry::chain;

/// Reads something again and publishes it, or says on one line why it cannot.
type Reread = Box<dyn Fn() -> Result<(), String> + Send>;

/// Everything that is read from files.
#[derive(Default)]
pub struct Reloads {
    /// The variable that names the file, and how it is read.
    rereads: Vec<(&'static str, Reread)>,
}

impl Reloads {
    /// Reads the file that `variable` names, now and from then on at each reload.
    ///
    /// Errors: those of `read`, which name the variable, the file and what was expected.
    pub fn add<T, E>(
        &mut self,
        variable: &'static str,
        read: impl Fn() -> Result<T, E> + Send + 'static,
    ) -> Result<Arc<Publisher<T>>, E>
    where
        T: Clone + Send + Sync + 'static,
        E: Error,
    {
        let publisher = Arc::new(Publisher::new(read()?));
        let publishing = Arc::clone(&publisher);
        let reread = move || read().map(|value| publishing.publish(value)).map_err(|error| chain(&error));
        self.rereads.push((variable, Box::new(reread)));
        Ok(publisher)
    }

    /// Starts the thread that reads them again, and tells the service manager of it. It ends with the reloader, or with the
    /// process: a file that hangs holds up neither signals nor the admin listener.
    pub fn start(self, manager: Option<Arc<Manager>>) -> io::Result<Reloader> {
        let (wake, woken) = sync_channel(1);
        let body = move || {
            woken.iter().for_each(|()| match &manager {
                Some(manager) => manager.reloading(|| self.reread()),
                None => self.reread(),
            });
        };
        std::thread::Builder::new().name("reload".to_owned()).spawn(body)?;
        Ok(Reloader(wake))
    }

    fn reread(&self) {
        if self.rereads.is_empty() {
            tracing::info!("SIGHUP: there is nothing to reload");
        }
        for (variable, reread) in &self.rereads {
            match reread() {
                Ok(()) => tracing::info!(variable, "reloaded"),
                Err(error) => tracing::error!(variable, "not reloaded, what was read before stays in force: {error}"),
            }
        }
    }
}

/// Where a reload is asked for.
pub struct Reloader(SyncSender<()>);

impl Reloader {
    /// Has everything read again, without waiting for it.
    pub fn reload(&self) {
        // An error means that one is asked for and has not begun: it will read what is there now.
        let _ = self.0.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_cannot_be_read_again_leaves_in_force_what_was_read_before() {
        let file = Arc::new(Mutex::new(Ok("first")));
        let read = {
            let file = Arc::clone(&file);
            move || file.lock().unwrap().map_err(io::Error::from)
        };
        let mut reloads = Reloads::default();
        let core = reloads.add("FILE", read.clone()).unwrap().subscribe();
        for (content, held) in
            [(Err(io::ErrorKind::NotFound), "first"), (Ok("second"), "second"), (Err(io::ErrorKind::Other), "second")]
        {
            *file.lock().unwrap() = content;
            reloads.reread();
            assert_eq!(core.with(|value| *value), held);
        }
        assert!(reloads.add("FILE", read).is_err(), "at the start it is an error");
    }
}
