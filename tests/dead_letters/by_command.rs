//! `dispatcher dead`.

use super::common::daemon::Daemon;
use super::common::origin::{Origin, Reply};
use super::common::run;
use super::tools::{GIVES_UP, bury, dead, text};

#[test]
fn the_command_lists_shows_replays_and_deletes() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let ids = bury(&daemon, &origin, 5).await;
        let list = dead(&daemon, dir.path(), &["ls"]).await;
        let lines = text(&list.stdout);
        assert!(list.status.success() && lines.lines().count() == 6, "{list:?}");
        assert!(lines.lines().skip(1).zip(&ids).all(|(line, id)| line.starts_with(id.as_str())), "{lines}");
        let json =
            text(&dead(&daemon, dir.path(), &["ls", "--json", "--limit", "2", "--class", "http_5xx"]).await.stdout);
        let letters: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(letters.iter().map(|letter| letter["id"].as_str().unwrap()).collect::<Vec<_>>(), ids[..2]);
        let shown = text(&dead(&daemon, dir.path(), &["show", &ids[0]]).await.stdout);
        for part in ["POST /in?a=1 HTTP/1.1", "http_5xx, status 500", "body ", "the last answer began:\nsaid"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let dry = text(&dead(&daemon, dir.path(), &["replay", "--all", "--dry-run"]).await.stdout);
        assert!(dry.starts_with("5 letters\n") && dry.contains("http_5xx"), "{dry}");
        let removed = dead(&daemon, dir.path(), &["rm", &ids[0]]).await;
        assert_eq!((text(&removed.stdout).as_str(), removed.status.code()), ("1 deleted\n", Some(0)));
        origin.answer(|_| Reply::Status(200));
        let replayed = dead(&daemon, dir.path(), &["replay", "--all"]).await;
        assert_eq!((text(&replayed.stdout).as_str(), replayed.status.code()), ("4 of 4 replayed\n", Some(0)));
        daemon.until_idle().await;
        assert!(origin.has_all(&ids[1..]) && !origin.has_all([&ids[0]]));
    });
}

#[test]
fn exit_statuses_are_as_the_help_says() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let mut daemon = Daemon::start(dir.path(), GIVES_UP).await;
        bury(&daemon, &origin, 1).await;
        const NONE: &str = "01a20bd2-02f3-7548-aec6-07ca29d3aca6";
        for (args, status, part) in [
            (&["show", NONE][..], 1, "no dead letter"),
            (&["rm", NONE], 1, ""),
            (&["rm"], 2, "all"),
            (&["ls", "--since", "yesterday"], 2, "RFC 3339"),
            (&["replay", "--all", "--class", "dns"], 2, "no filter beside it"),
        ] {
            let ran = dead(&daemon, dir.path(), args).await;
            assert_eq!(ran.status.code(), Some(status), "{args:?} {ran:?}");
            assert!(text(&ran.stderr).contains(part), "{args:?} {ran:?}");
        }
        daemon.kill();
        let ran = dead(&daemon, dir.path(), &["ls"]).await;
        assert_eq!(ran.status.code(), Some(2));
        assert!(text(&ran.stderr).contains("no daemon answers"), "{ran:?}");
        let help = text(&dead(&daemon, dir.path(), &["replay", "--help"]).await.stdout);
        assert!(help.contains("Exit status") && help.contains("log cat --dead-letters"), "{help}");
    });
}
