//! An origin that has only an IPv6 address: see the table for what is sent on, and as what.

use crate::support::{Origin, on_both};

#[test]
fn an_ipv6_address_in_brackets_is_an_origin_in_every_spelling() {
    // A machine may have no IPv6.
    let Some(origin) = Origin::start_at("[::1]:0") else { return };
    let port = origin.address.port();
    on_both(&[], |daemon| {
        for value in [format!("[::1]:{port}"), format!("http://[0:0::0:1]:{port}"), format!("HTTP://[::0001]:{port}")] {
            let mut client = daemon.connect();
            client.send(format!("GET /p HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {value}\r\n\r\n"));
            let id = client.answer().message_id();
            let expected = format!(
                "GET /p HTTP/1.1\r\nHost: [::1]:{port}\r\nX-Dispatcher-Message-Id: {id}\r\nX-Dispatcher-Attempt: 1\r\n\r\n"
            );
            assert_eq!(String::from_utf8(origin.received(&id)).unwrap(), expected, "{value}");
        }
    });
}
