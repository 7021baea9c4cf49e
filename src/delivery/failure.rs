//! Errors of the resolver, the socket, TLS, hyper and h2 to the closed set of failure classes.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use crate::schedule::attempt::Failure;

/// Of connecting a TCP socket: what is not the peer's doing is a local network error.
pub(super) fn of_connect(error: &io::Error) -> Failure {
    use io::ErrorKind::{ConnectionRefused, TimedOut};
    match error.kind() {
        ConnectionRefused => Failure::Refused,
        _ if has_hung_up(error) => Failure::Reset,
        TimedOut => Failure::ConnectTimeout,
        _ => Failure::Unreachable,
    }
}

/// Whether it is this machine that lacked descriptors, or memory for a socket: that is no fault of the origin.
pub(super) fn is_exhaustion(error: &(dyn Error + 'static)) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].map(Errno::raw_os_error);
    let mut cause = Some(error);
    while let Some(error) = cause {
        let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if code.is_some_and(|code| lacks.contains(&code)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the peer has closed the connection or broken it off.
pub(super) fn has_hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

/// Of a TLS handshake: what is not a broken socket is the handshake's own, an early end of the stream included.
pub(super) fn of_handshake(error: &io::Error) -> Failure {
    if is_of_the_socket(error) { of_connect(error) } else { Failure::Tls }
}

fn is_of_the_socket(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    has_hung_up(error) || matches!(error.kind(), HostUnreachable | NetworkDown | NetworkUnreachable | TimedOut)
}

/// Of an exchange on an open connection; `received` says whether the origin had sent anything since it began.
pub(super) fn of_exchange(error: &hyper::Error, received: bool) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return of_stream(error);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_parse() {
                return Failure::Protocol;
            }
            if error.is_incomplete_message() {
                return Failure::Reset;
            }
        }
        cause = error.source();
    }
    // hyper has no name for bytes that came before the request was sent. The rest are its words for a connection that
    // was closed while it waited for one.
    if received { Failure::Protocol } else { Failure::Reset }
}

/// Of a stream of HTTP/2 or the connection below it: what the origin ended is reset, what it did wrong is protocol.
pub(super) fn of_http2(error: &h2::Error) -> Failure {
    match error.get_io() {
        // h2 keeps of a TLS error only its kind, which tokio-rustls gives to nothing else.
        Some(error) if error.kind() == io::ErrorKind::InvalidData => Failure::Tls,
        Some(error) => of_stream(error),
        None if error.is_remote() => Failure::Reset,
        None => Failure::Protocol,
    }
}

/// Of reading or writing an open connection: it broke, whatever the kernel's word for that.
fn of_stream(error: &io::Error) -> Failure {
    use io::ErrorKind::{HostUnreachable, InvalidData, NetworkDown, NetworkUnreachable};
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return Failure::Tls;
    }
    match error.kind() {
        HostUnreachable | NetworkDown | NetworkUnreachable => Failure::Unreachable,
        // What a wire says of bytes that answer no request.
        InvalidData => Failure::Protocol,
        _ => Failure::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel error and its class while connecting, during the handshake, and on an open connection.
    #[test]
    fn every_kernel_error_has_a_class_for_each_stage() {
        use Failure::{ConnectTimeout, Refused, Reset, Tls, Unreachable};
        let table = [
            (Errno::CONNREFUSED, Refused, Tls, Reset),
            (Errno::CONNRESET, Reset, Reset, Reset),
            (Errno::CONNABORTED, Reset, Reset, Reset),
            (Errno::PIPE, Reset, Reset, Reset),
            (Errno::TIMEDOUT, ConnectTimeout, ConnectTimeout, Reset),
            (Errno::NETUNREACH, Unreachable, Unreachable, Unreachable),
            (Errno::HOSTUNREACH, Unreachable, Unreachable, Unreachable),
            (Errno::NETDOWN, Unreachable, Unreachable, Unreachable),
            (Errno::ADDRNOTAVAIL, Unreachable, Tls, Reset),
            (Errno::MFILE, Unreachable, Tls, Reset),
            (Errno::NFILE, Unreachable, Tls, Reset),
            (Errno::NOBUFS, Unreachable, Tls, Reset),
            (Errno::ACCESS, Unreachable, Tls, Reset),
        ];
        for (errno, connect, handshake, stream) in table {
            let error = io::Error::from(errno);
            assert_eq!((of_connect(&error), of_handshake(&error), of_stream(&error)), (connect, handshake, stream));
        }
    }

    #[test]
    fn a_lack_of_descriptors_is_told_from_all_that_an_origin_does() {
        for (errno, is_ours) in
            [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::NOBUFS, true), (Errno::CONNREFUSED, false)]
        {
            let error = super::super::connect::ConnectError::Tcp(io::Error::from(errno));
            assert_eq!(is_exhaustion(&error), is_ours, "{errno:?}");
        }
        assert!(!is_exhaustion(&io::Error::from(io::ErrorKind::TimedOut)));
    }

    #[test]
    fn an_alert_or_a_bad_certificate_is_tls_and_a_torn_stream_is_reset() {
        let tls = || io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!((of_handshake(&tls()), of_stream(&tls())), (Failure::Tls, Failure::Tls));
        let torn = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!((of_handshake(&torn), of_stream(&torn)), (Failure::Tls, Failure::Reset));
    }
}
