//! What broke, to the class of failure it is. Every error is judged here and nowhere else.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use super::connect::ConnectError;
use crate::schedule::attempt::Failure;

/// The class of a connection that could not be made.
pub fn of_connect(error: &ConnectError) -> Failure {
    match error {
        ConnectError::Dns(_) => Failure::Dns,
        ConnectError::Tls(error) => match io_failure(error) {
            // The peer may have hung up in the middle of a handshake; all else is about certificates and protocol.
            Failure::Reset if !is_rustls(error) => Failure::Reset,
            _ => Failure::Tls,
        },
        ConnectError::Tcp(error) => match io_failure(error) {
            Failure::ResponseTimeout => Failure::ConnectTimeout,
            failure => failure,
        },
    }
}

/// The class of an exchange that broke after the connection was made.
pub fn of_exchange(error: &hyper::Error) -> Failure {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return io_failure(error);
        }
        source = cause.source();
    }
    if error.is_timeout() {
        Failure::ResponseTimeout
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || error.is_body_write_aborted()
    {
        Failure::Reset
    } else {
        // Not HTTP, a head over its bound, an upgrade nobody asked for.
        Failure::Protocol
    }
}

fn is_rustls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}

/// The class of an operating system error on a socket.
fn io_failure(error: &io::Error) -> Failure {
    if is_rustls(error) {
        return Failure::Tls;
    }
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::CONNREFUSED) => Failure::Refused,
        Some(Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED | Errno::NOTCONN | Errno::SHUTDOWN) => Failure::Reset,
        Some(Errno::TIMEDOUT) => Failure::ResponseTimeout,
        // No route, no local port or no descriptor: nothing that the origin did.
        Some(_) => Failure::Unreachable,
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero | io::ErrorKind::BrokenPipe => Failure::Reset,
            io::ErrorKind::TimedOut => Failure::ResponseTimeout,
            io::ErrorKind::InvalidData => Failure::Protocol,
            _ => Failure::Unreachable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_fail_to_connect_has_its_class() {
        let os = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let rustls = || io::Error::new(io::ErrorKind::InvalidData, rustls::Error::General("no".to_owned()));
        let cases = [
            (ConnectError::Dns(io::Error::other("no such name")), Failure::Dns),
            (ConnectError::Tcp(os(Errno::CONNREFUSED)), Failure::Refused),
            (ConnectError::Tcp(os(Errno::CONNRESET)), Failure::Reset),
            (ConnectError::Tcp(os(Errno::TIMEDOUT)), Failure::ConnectTimeout),
            (ConnectError::Tcp(os(Errno::NETUNREACH)), Failure::Unreachable),
            (ConnectError::Tcp(os(Errno::HOSTUNREACH)), Failure::Unreachable),
            (ConnectError::Tcp(os(Errno::ADDRNOTAVAIL)), Failure::Unreachable),
            (ConnectError::Tcp(os(Errno::MFILE)), Failure::Unreachable),
            (ConnectError::Tls(rustls()), Failure::Tls),
            (ConnectError::Tls(os(Errno::CONNRESET)), Failure::Reset),
            (ConnectError::Tls(io::ErrorKind::UnexpectedEof.into()), Failure::Reset),
            (ConnectError::Tls(io::Error::other("the host cannot be in a certificate")), Failure::Tls),
        ];
        for (error, failure) in cases {
            assert_eq!(of_connect(&error), failure, "{error:?}");
        }
    }
}
