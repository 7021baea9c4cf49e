//! Secrets planted wherever there is room for one, and looked for wherever something is told that nobody asked for.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::STANDARD;
use base64::prelude::Engine;
use rustix::process::Signal;

use support::{Answer, Client, Daemon, Origin, run};

/// Part of every secret.
const MARK: &str = "planted-";
const TOKEN: &str = "planted-token-of-a-sender";
const ADMIN_TOKEN: &str = "planted-token-of-an-operator";
/// Fields of a message that are nobody's business, and its body.
const FIELDS: &str = "Authorization: Bearer planted-authorization\r\nProxy-Authorization: Basic planted-proxy\r\n\
                      Cookie: a=planted-cookie\r\nX-Api-Key: planted-key\r\n";
const BODY: &str = "planted-body";

/// Everything that was told, and by what.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn add(&mut self, by: &str, text: impl Into<String>) {
        self.0.push((by.to_owned(), text.into()));
    }

    fn add_answer(&mut self, by: &str, answer: &Answer) {
        self.add(by, format!("{}\n{}", answer.head, String::from_utf8_lossy(&answer.body)));
    }

    /// The first line that holds a secret, as it is or in another form, and what told it.
    fn secret(&self) -> Option<String> {
        let bytes: Vec<String> = MARK.bytes().map(|byte| byte.to_string()).collect();
        let hex: String = MARK.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![MARK.to_owned(), bytes.join(", "), hex];
        // Base64 of the mark wherever in three bytes it begins, less the letters that its neighbours share.
        forms.extend((0..3).map(|at| {
            let encoded = STANDARD.encode(["x".repeat(at).as_bytes(), MARK.as_bytes()].concat());
            encoded[2 * at..encoded.len() - 3].trim_end_matches('=').to_owned()
        }));
        let lines = self.0.iter().flat_map(|(by, text)| text.lines().map(move |line| (by, line)));
        let mut found = lines.filter(|(_, line)| forms.iter().any(|form| line.contains(form)));
        found.next().map(|(by, line)| format!("{by} tells {line}"))
    }
}

#[test]
fn a_secret_is_found_in_whatever_form_it_is_told() {
    let json = |text: &str| serde_json::to_string(text).unwrap();
    for text in [
        BODY.to_owned(),
        json(&format!("{{\"a\":\"{BODY}\"}}")),
        format!("{:?}", BODY.as_bytes()),
        BODY.bytes().map(|byte| format!("{byte:02x}")).collect(),
        STANDARD.encode(BODY),
        STANDARD.encode(format!("a{BODY}")),
        STANDARD.encode(format!("ab{BODY}, and more")),
    ] {
        let mut told = Told::default();
        told.add("a test", format!("first\nthen {text} there"));
        assert!(told.secret().is_some(), "{text}");
    }
}

/// Answers every request with 500, a cookie and a body.
fn failing_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the process: nothing else asks it.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut arrived = Vec::new();
            let mut bytes = [0; 4096];
            while !arrived.windows(BODY.len()).any(|part| part == BODY.as_bytes()) {
                match stream.read(&mut bytes) {
                    Ok(read @ 1..) => arrived.extend_from_slice(&bytes[..read]),
                    Ok(0) | Err(_) => break,
                }
            }
            let answer = "HTTP/1.1 500 planted-phrase\r\nSet-Cookie: a=planted-set-cookie\r\nContent-Length: 14\r\n\
                          Connection: close\r\n\r\nplanted-answer";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

fn post(origin: &str, fields: &str) -> String {
    format!(
        "POST /p?key=planted-query HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {origin}\r\n{FIELDS}{fields}\
         Content-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        found.push(path.clone());
        if path.is_dir() {
            found.extend(segments(&path));
        }
    }
    found
}

/// Flips a bit in the body of the first message that stands in the log, outside of the dead letters.
fn damage(log: &Path) {
    for path in segments(&log.join("shard-00")).into_iter().filter(|path| path.is_file()) {
        let mut image = fs::read(&path).unwrap();
        if let Some(at) = image.windows(BODY.len()).position(|part| part == BODY.as_bytes()) {
            image[at] ^= 1;
            return fs::write(&path, image).unwrap();
        }
    }
    panic!("a message stands in the log");
}

fn refusals(daemon: &Daemon, told: &mut Told) {
    let good = format!("X-Dispatcher-Authorization: Bearer {TOKEN}\r\n");
    let no_origin = "GET /x?key=planted-query HTTP/1.1\r\nHost: a\r\n";
    for (by, status, request) in [
        ("a wrong token", 401, post("b", "X-Dispatcher-Authorization: Bearer planted-wrong-token\r\n")),
        ("a token twice", 401, post("b", &good.repeat(2))),
        ("a slip in the field of the token", 400, post("b", &[&good, &*good.replace("zation", "sation")].concat())),
        (
            "a control field that is none",
            400,
            post("b", &format!("{good}X-Dispatcher-Key: planted-key-of-a-service\r\n")),
        ),
        ("user information", 400, post("http://planted-user:planted-password@b", &good)),
        ("user information for who is denied", 400, post("planted-user:planted-pass@169.254.169.254", &good)),
        ("an origin with a query", 400, post("b/x?key=planted-key", &good)),
        ("an origin twice", 400, post("b", &format!("{good}X-Dispatcher-Origin-Host: planted-user@b\r\n"))),
        ("no origin", 400, format!("{no_origin}{good}\r\n")),
        ("user information in Host", 400, post("b", &good).replace("Host: a", "Host: planted-user:planted-password@a")),
        ("a length and a coding", 400, post("b", &format!("{good}Transfer-Encoding: chunked\r\n"))),
        ("a bare LF", 400, post("b", "X: planted-field\nY: z\r\n")),
        ("a name that is no token", 400, post("b", "planted- field: x\r\n")),
        ("a first line that is none", 400, "planted-line\r\n\r\n".to_owned()),
        ("user information in the target", 400, post("b", &good).replace("/p", "http://planted-user:planted-pass@a/p")),
        ("CONNECT", 501, "CONNECT planted-host:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("a long target", 414, post("b", "").replace("/p", &format!("/planted-{}", "x".repeat(9000)))),
        ("a large head", 431, post("b", &format!("X: planted-{}\r\n", "x".repeat(64 << 10)))),
    ] {
        let mut client = daemon.connect();
        client.send(request);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{by}: {}", answer.text());
        told.add_answer(by, &answer);
    }
}

fn admin(daemon: &Daemon, told: &mut Told) {
    let mut client = Client::connect(daemon.admin);
    for (status, method, path, token) in [
        (401, "GET", "/-/dead-letters", "planted-wrong-token"),
        (200, "GET", "/-/dead-letters", ADMIN_TOKEN),
        (200, "POST", "/-/dead-letters/replay?all=true&dry_run=true", ADMIN_TOKEN),
        (200, "GET", "/-/replays", ADMIN_TOKEN),
        (404, "GET", "/x", ADMIN_TOKEN),
        (200, "GET", "/metrics", ADMIN_TOKEN),
    ] {
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nCookie: planted-cookie\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        told.add_answer(path, &answer);
    }
}

fn commands(daemon: &Daemon, variables: &[(&str, &str)], told: &mut Told) {
    let address = daemon.admin.to_string();
    let variables = [variables, &[("ADMIN_LISTEN", &*address)]].concat();
    for arguments in [
        &["check-config"][..],
        &["--help"],
        &["log", "cat", "--dead-letters"],
        &["log", "verify"],
        &["log", "verify", "--json"],
        &["dead", "ls"],
        &["dead", "ls", "--json"],
        &["dead", "replay", "--all", "--dry-run"],
        &["dead", "show", "01890a5d-ac96-774b-bcce-b302099a8057"],
    ] {
        let ended = run(&daemon.directory, &variables, arguments);
        assert!(ended.code.is_some_and(|code| code < 2), "{arguments:?}: {ended:?}");
        told.add(&format!("{arguments:?}"), format!("{}\n{}", ended.stdout, ended.stderr.join("\n")));
    }
    let wrong = [&variables[..], &[("ADMIN_TOKEN", "planted-wrong-token")]].concat();
    let ended = run(&daemon.directory, &wrong, &["dead", "ls"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    told.add("dead ls with a wrong token", ended.stderr.join("\n"));
    // The secrets are there, for who asks.
    let cat = run(&daemon.directory, &variables, &["log", "cat", "--dead-letters", "--heads", "--bodies"]).stdout;
    for planted in ["planted-authorization", "planted-cookie", "planted-key", "planted-query"] {
        assert!(cat.contains(planted), "{planted} in {cat}");
    }
    assert!(!cat.contains(TOKEN) && !cat.contains("planted-proxy"), "{cat}");
    assert!(cat.contains(&STANDARD.encode(BODY)) && cat.contains(&STANDARD.encode("planted-answer")), "{cat}");
}

/// Accepts, refuses, delivers, retries, gives up, is killed, and recovers from a damaged log, at the most talkative level.
fn tells_nothing(format: &str, backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    fs::write(&file, format!("# planted-comment\n{TOKEN}\n")).unwrap();
    let variables = [
        ("LOG_LEVEL", "trace"),
        ("LOG_FORMAT", format),
        ("IO_BACKEND", backend),
        ("AUTH_TOKEN_FILE", file.to_str().unwrap()),
        ("ADMIN_TOKEN", ADMIN_TOKEN),
        ("RETRYLIMIT", "1"),
        ("BACKOFF_BASE", "10ms"),
        ("BREAKER_FAILURES", "0"),
        // A log that is not given back while we look.
        ("EVENT_SOURCING", "true"),
    ];
    let (mut told, origin, failing) = (Told::default(), Origin::start(), failing_origin().to_string());
    let mut daemon = Daemon::start(&variables);
    let good = format!("X-Dispatcher-Authorization: Bearer {TOKEN}\r\n");
    let mut client = daemon.connect();
    client.send([post(&origin.address.to_string(), &good), post(&failing, &good)].concat());
    let answers = [client.answer(), client.answer()];
    for answer in &answers {
        told.add_answer("202", answer);
    }
    origin.received(&answers[0].message_id());
    daemon.assert_metric("dispatcher_dead_letters_kept", 1.0);
    refusals(&daemon, &mut told);
    admin(&daemon, &mut told);
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"));
    told.add_answer("/metrics", &client.answer());
    daemon.signal(Signal::HUP);
    daemon.log_lines_until("reloaded", 1);
    fs::write(&file, "planted-token with a space\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.log_lines_until("not reloaded", 1);
    let lines = daemon.kill();
    for part in ["will be retried", "dead-lettered", "not reloaded"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} in {lines:#?}");
    }
    told.add("the first life", lines.join("\n"));

    damage(&daemon.directory.path().join("log"));
    let ended = run(&daemon.directory, &variables, &[]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    told.add("a start with tokens that cannot be used", ended.stderr.join("\n"));
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    daemon.start_again(&variables);
    commands(&daemon, &variables, &mut told);
    let lines = daemon.kill();
    assert!(lines.iter().any(|line| line.contains("the damage is set aside")), "{lines:#?}");
    told.add("the second life", lines.join("\n"));
    assert_eq!(told.secret(), None);

    // What holds the secrets is for the owner alone.
    let log = daemon.directory.path().join("log");
    for path in std::iter::once(log.clone()).chain(segments(&log)) {
        let metadata = fs::metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
    }
}

#[test]
fn no_secret_is_told_in_text() {
    tells_nothing("text", "portable");
}

#[test]
fn no_secret_is_told_in_json() {
    tells_nothing("json", "auto");
}

#[test]
fn a_variable_that_cannot_be_used_is_not_shown_where_it_is_secret() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for (name, value) in
        [("AUTH_TOKEN", "planted-"), ("ADMIN_TOKEN", "planted- with a space"), ("AUTH_TOKEN", "planted-é")]
    {
        for arguments in [&[][..], &["check-config"]] {
            let ended = run(&directory, &[(name, value)], arguments);
            assert_eq!((ended.code, ended.stderr.len()), (Some(2), 1), "{ended:?}");
            told.add(name, format!("{}{}", ended.stdout, ended.stderr[0]));
        }
    }
    assert_eq!(told.secret(), None);
}
