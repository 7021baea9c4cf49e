//! Rows: the Host field.

use super::{Row, passed, post, refused, sent};

pub fn rows() -> Vec<Row> {
    let text = String::from_utf8(post("")).unwrap();
    let with = |host: &str| text.replace("Host: a\r\n", host);
    let good = |rule, name, host: &str| sent(rule, name, with(host), "POST /p HTTP/1.1\r\nHost: {o}\r\n", "");
    let bad = |name, host: &str| refused(400, "RFC 9112 §3.2", name, with(host));
    vec![
        bad("no Host", ""),
        bad("Host twice, different", "Host: a\r\nHost: b\r\n"),
        passed("RFC 9110 §7.2", "a name that only begins like Host", "Hosts: b\r\n", "Hosts: b\r\n"),
        refused(400, "RFC 9112 §3.2", "Host twice, equal, the second far behind", post("X: y\r\nhost: a\r\n")),
        bad("Host with a path", "Host: a/b\r\n"),
        bad("Host with a query", "Host: a?b\r\n"),
        bad("Host with user information", "Host: u@a\r\n"),
        bad("Host with a scheme", "Host: http://a\r\n"),
        bad("Host with a space within", "Host: a b\r\n"),
        bad("Host with a port that is no number", "Host: a:b\r\n"),
        bad("Host with a signed port", "Host: a:+80\r\n"),
        bad("Host with two ports", "Host: a:80:90\r\n"),
        bad("Host with IPv6 without brackets", "Host: ::1\r\n"),
        bad("Host with half a bracket", "Host: [::1\r\n"),
        bad("Host with a name in brackets", "Host: [a]\r\n"),
        bad("Host with something behind its bracket", "Host: [::1]a\r\n"),
        bad("Host with half an escape", "Host: a%2\r\n"),
        bad("Host in UTF-8", "Host: b\u{fc}cher.example\r\n"),
        bad("Host with a control", "Host: a\x01\r\n"),
        bad("a space before the colon of Host", "Host : a\r\n"),
        good("RFC 9110 §7.2", "Host with a port", "Host: a.example:8080\r\n"),
        good("RFC 9110 §7.2", "Host with an empty port", "Host: a.example:\r\n"),
        good("RFC 9110 §7.2", "Host with an IPv6 address", "Host: [2001:db8::1]:80\r\n"),
        good("RFC 3986 §3.2.2", "Host with an address of the future", "Host: [v1.a:b]\r\n"),
        good(
            "RFC 3986 §3.2.2",
            "Host with an escape and what a registered name may have",
            "Host: %41_~!$&'()*+,;=\r\n",
        ),
        good("RFC 9112 §3.2", "an empty Host", "Host:\r\n"),
        good("RFC 9112 §5.1", "Host without a space, and white space behind it", "Host:a\t \r\n"),
        sent(
            "RFC 9110 §7.2",
            "Host keeps its place and its case",
            "GET / HTTP/1.1\r\nA: 1\r\nX-Dispatcher-Origin-Host: {o}\r\nhOST: a\r\nB: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nA: 1\r\nhOST: {o}\r\nB: 2\r\n",
            "",
        ),
        sent(
            "RFC 9112 §3.2.2",
            "a Host that is not the authority of the URL",
            "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: {o}\r\n",
            "",
        ),
        refused(
            400,
            "RFC 9112 §3.2",
            "a URL and no Host",
            "GET http://a.example/ HTTP/1.1\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        ),
    ]
}
