//! Dead letters over HTTP: list, show, replay, delete; and the replays under way. As JSON.

use base64::engine::general_purpose::STANDARD;
use base64::prelude::Engine;
use bytes::Bytes;
use http::header::{ALLOW, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::access::{Access, Asked, Denied};
use super::query::{Bad, Query};
use super::{JSON, PROBLEM, problem, respond};
use crate::control::Control;
use crate::control::letters::Unanswered;
use crate::message::{MessageId, Scheme, without_query};
use crate::shard::letter::{Details, ReplayStatus, Selection, Summary, Tally};
use crate::time::{Rfc3339, unix_now};

type Answer = Response<Full<Bytes>>;

/// What there is to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    List,
    One(&'a str),
    Replay,
    Delete,
    Replays,
    ReplayJob(&'a str),
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let one = |rest: &'a str| (!rest.is_empty() && !rest.contains('/')).then_some(rest);
        match path {
            "/-/dead-letters" => Some(Self::List),
            "/-/dead-letters/replay" => Some(Self::Replay),
            "/-/dead-letters/delete" => Some(Self::Delete),
            "/-/replays" => Some(Self::Replays),
            _ => {
                let job = || path.strip_prefix("/-/replays/").and_then(one).map(Self::ReplayJob);
                path.strip_prefix("/-/dead-letters/").and_then(one).map(Self::One).or_else(job)
            }
        }
    }

    const fn methods(self) -> &'static str {
        match self {
            Self::List | Self::Replays => "GET, HEAD",
            Self::One(_) => "GET, HEAD, DELETE",
            Self::Replay | Self::Delete => "POST",
            Self::ReplayJob(_) => "DELETE",
        }
    }
}

/// Answers a request about dead letters; `None`: it is about something else.
pub async fn answer<B>(request: &Request<B>, control: &Control, access: &Access, scheme: Scheme) -> Option<Answer> {
    let route = Route::of(request.uri().path())?;
    let method = request.method();
    if !route.methods().split(", ").any(|allowed| allowed == method.as_str()) {
        let detail = format!("this is for {}", route.methods());
        let refused = problem(StatusCode::METHOD_NOT_ALLOWED, &detail);
        return Some(with(refused, ALLOW, route.methods()));
    }
    let asked = if matches!(*method, Method::GET | Method::HEAD) { Asked::Letters } else { Asked::Change };
    if let Err(denied) = access.decide(asked, request) {
        return Some(refuse(denied));
    }
    let query = request.uri().query().unwrap_or_default();
    let answered = match route {
        Route::List => list(query, scheme, control).await,
        Route::One(id) if asked == Asked::Change => delete_one(id, control).await,
        Route::One(id) => show(id, control).await,
        Route::Replay => replay(query, scheme, control).await,
        Route::Delete => delete(query, scheme, control).await,
        Route::Replays => control.replays().await.map(|jobs| {
            let jobs: Vec<Value> = jobs.iter().map(status).collect();
            json_answer(StatusCode::OK, &json!({ "replays": jobs }))
        }),
        Route::ReplayJob(job) => cancel(job, control).await,
    };
    Some(answered.unwrap_or_else(|why| unanswered(&why)))
}

fn refuse(denied: Denied) -> Answer {
    match denied {
        Denied::Token => {
            let refused = problem(StatusCode::UNAUTHORIZED, "this needs `Authorization: Bearer` with ADMIN_TOKEN");
            with(refused, WWW_AUTHENTICATE, "Bearer")
        }
        Denied::NoToken => problem(
            StatusCode::FORBIDDEN,
            "ADMIN_LISTEN is not on loopback: nothing can be changed before ADMIN_TOKEN is set",
        ),
        Denied::Host => problem(
            StatusCode::FORBIDDEN,
            "without ADMIN_TOKEN, dead letters are for those who come by address or as localhost",
        ),
    }
}

fn unanswered(why: &Unanswered) -> Answer {
    let status = match why {
        Unanswered::Recovering | Unanswered::Busy | Unanswered::Silent => StatusCode::SERVICE_UNAVAILABLE,
        Unanswered::TooManyReplays => StatusCode::CONFLICT,
        Unanswered::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    problem(status, &why.to_string())
}

/// A parameter that cannot be used, by name.
fn bad(bad: &Bad) -> Answer {
    let Bad { parameter, value, expected } = bad;
    let status = StatusCode::BAD_REQUEST;
    let body = json!({
        "type": "about:blank", "title": "Bad Request", "status": status.as_u16(),
        "detail": format!("{parameter}={value:?}: expected {expected}"),
        "parameter": parameter, "value": value, "expected": expected,
    });
    respond(status, PROBLEM, body.to_string())
}

fn no_letter() -> Answer {
    problem(StatusCode::NOT_FOUND, "there is no dead letter with this id")
}

async fn list(query: &str, scheme: Scheme, control: &Control) -> Result<Answer, Unanswered> {
    let query = match Query::parse(query, &["limit", "after"], scheme, unix_now()) {
        Ok(query) => query,
        Err(why) => return Ok(bad(&why)),
    };
    let (letters, next) = control.list_letters(&query.selection, query.after, query.limit).await?;
    let letters: Vec<Value> = letters.iter().map(|letter| Value::Object(summary(letter))).collect();
    let next = next.map(|id| id.to_string());
    Ok(json_answer(StatusCode::OK, &json!({ "letters": letters, "next": next })))
}

async fn show(id: &str, control: &Control) -> Result<Answer, Unanswered> {
    let Some(id) = MessageId::parse(id) else { return Ok(no_letter()) };
    let shown = control.show_letter(id).await?;
    Ok(shown.map_or_else(no_letter, |letter| json_answer(StatusCode::OK, &details(&letter))))
}

async fn delete_one(id: &str, control: &Control) -> Result<Answer, Unanswered> {
    let Some(id) = MessageId::parse(id) else { return Ok(no_letter()) };
    remove(&Selection { ids: vec![id], ..Selection::default() }, control, Some(no_letter())).await
}

async fn delete(query: &str, scheme: Scheme, control: &Control) -> Result<Answer, Unanswered> {
    let read = Query::parse(query, &["all", "dry_run"], scheme, unix_now());
    match read.and_then(|query| query.choice().map(|()| query)) {
        Err(why) => Ok(bad(&why)),
        Ok(query) if query.dry_run => count(&query.selection, control).await,
        Ok(query) => remove(&query.selection, control, None).await,
    }
}

/// `none`: the answer if there was nothing to remove.
async fn remove(selection: &Selection, control: &Control, none: Option<Answer>) -> Result<Answer, Unanswered> {
    let removal = control.remove_letters(selection).await?;
    if removal.no_space {
        let removed = removal.removed;
        let detail =
            format!("there is no disk space to note that letters are deleted: {removed} are, the rest are not");
        return Ok(problem(StatusCode::INSUFFICIENT_STORAGE, &detail));
    }
    let answer = json!({ "removed": removal.removed, "unreadable": removal.unreadable });
    Ok(none.filter(|_| removal.removed == 0).unwrap_or_else(|| json_answer(StatusCode::OK, &answer)))
}

async fn replay(query: &str, scheme: Scheme, control: &Control) -> Result<Answer, Unanswered> {
    let read = Query::parse(query, &["all", "dry_run", "rate"], scheme, unix_now());
    match read.and_then(|query| query.choice().map(|()| query)) {
        Err(why) => Ok(bad(&why)),
        Ok(query) if query.dry_run => count(&query.selection, control).await,
        Ok(query) => {
            let job = control.replay_letters(&query.selection, query.rate).await?;
            Ok(json_answer(StatusCode::ACCEPTED, &json!({ "job": job })))
        }
    }
}

async fn count(selection: &Selection, control: &Control) -> Result<Answer, Unanswered> {
    Ok(json_answer(StatusCode::OK, &tally(&control.count_letters(selection).await?)))
}

async fn cancel(job: &str, control: &Control) -> Result<Answer, Unanswered> {
    let cancelled = match job.parse() {
        Ok(job) => control.cancel_replay(job).await?,
        Err(_) => false,
    };
    if cancelled {
        return Ok(json_answer(StatusCode::OK, &json!({ "cancelled": true })));
    }
    Ok(problem(StatusCode::NOT_FOUND, "there is no replay with this number that runs"))
}

/// Method and target.
fn request(letter: &Summary) -> (String, String) {
    let line = String::from_utf8_lossy(&letter.request_line);
    let mut parts = line.split(' ').map(str::to_owned);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn summary(letter: &Summary) -> Map<String, Value> {
    let (method, target) = request(letter);
    let target = without_query(&target);
    let object = json!({
        "id": letter.id.to_string(), "accepted": Rfc3339(letter.accepted), "died": Rfc3339(letter.died),
        "origin": letter.origin.to_string(), "class": letter.class.as_str(), "status": letter.status,
        "attempts": letter.attempts, "replays": letter.replays, "method": method, "target": target,
        "body_bytes": letter.body_bytes,
    });
    let Value::Object(object) = object else { unreachable!("an object was written") };
    object
}

fn details(letter: &Details) -> Value {
    let mut object = summary(&letter.summary);
    let history: Vec<Value> = letter
        .history
        .iter()
        .map(|tried| {
            let (at, class) = (Rfc3339(tried.at), tried.failure.as_str());
            json!({"at": at, "class": class, "status": tried.status, "spared": tried.spared})
        })
        .collect();
    let lines = letter.head.split(|byte| *byte == b'\n').skip(1).filter(|line| !line.is_empty());
    let fields: Vec<Value> = lines
        .map(|line| {
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            json!([name, value.trim_matches([' ', '\t'])])
        })
        .collect();
    object.insert("target".to_owned(), json!(request(&letter.summary).1));
    object.insert("request_line".to_owned(), json!(String::from_utf8_lossy(&letter.summary.request_line)));
    object.insert("timeout_ms".to_owned(), json!(letter.timeout.map(|timeout| timeout.0)));
    object.insert("maybe_duplicate".to_owned(), json!(letter.maybe_duplicate));
    object.insert("fields".to_owned(), json!(fields));
    object.insert("head_base64".to_owned(), json!(STANDARD.encode(&letter.head)));
    object.insert("body_base64".to_owned(), json!(STANDARD.encode(&letter.body)));
    object.insert("history".to_owned(), json!(history));
    object.insert("answer_base64".to_owned(), json!(STANDARD.encode(&letter.answer)));
    object.insert("answer".to_owned(), json!(std::str::from_utf8(&letter.answer).ok()));
    Value::Object(object)
}

fn tally(tally: &Tally) -> Value {
    let origins: Vec<Value> = tally
        .origins
        .iter()
        .map(|(origin, letters)| json!({"origin": origin.to_string(), "letters": letters}))
        .collect();
    let classes: Vec<Value> =
        tally.classes.iter().map(|(class, letters)| json!({"class": class, "letters": letters})).collect();
    json!({
        "letters": tally.letters, "origins": origins, "other_origins": tally.other_origins, "classes": classes,
    })
}

fn status(replay: &ReplayStatus) -> Value {
    json!({
        "job": replay.job, "running": replay.running, "cancelled": replay.cancelled, "letters": replay.letters,
        "looked_at": replay.looked_at, "replayed": replay.replayed, "waiting": replay.waiting,
        "unreadable": replay.unreadable,
    })
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    respond(status, JSON, format!("{body}\n"))
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Origin;
    use crate::schedule::attempt::Failure;
    use crate::time::UnixMillis;
    use crate::wal::payload::Tried;

    #[test]
    fn every_path_is_what_it_says() {
        for (path, route) in [
            ("/-/dead-letters", Some(Route::List)),
            ("/-/dead-letters/", None),
            ("/-/dead-letters/x", Some(Route::One("x"))),
            ("/-/dead-letters/x/y", None),
            ("/-/dead-letters/replay", Some(Route::Replay)),
            ("/-/dead-letters/delete", Some(Route::Delete)),
            ("/-/replays", Some(Route::Replays)),
            ("/-/replays/7", Some(Route::ReplayJob("7"))),
            ("/-/replay", None),
            ("/metrics", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn what_a_letter_holds_is_shown_exactly() {
        let summary = Summary {
            id: MessageId([1; 16]),
            accepted: UnixMillis(1_700_000_000_000),
            died: UnixMillis(1_700_000_001_000),
            origin: Origin::parse("b:81", Scheme::Http).expect("an origin"),
            class: Failure::Http5xx,
            status: Some(503),
            attempts: 1,
            replays: 2,
            request_line: b"POST /a?b HTTP/1.1".to_vec(),
            body_bytes: 2,
        };
        let letter = Details {
            summary,
            timeout: None,
            maybe_duplicate: true,
            head: b"POST /a?b HTTP/1.1\r\nHost: b:81\r\nCookie: a=b\r\nX-Latin: \xe9\r\n".to_vec(),
            body: vec![0, 255],
            history: vec![Tried {
                at: UnixMillis(1_700_000_001_000),
                failure: Failure::Http5xx,
                status: Some(503),
                spared: false,
            }],
            answer: b"busy".to_vec(),
        };
        assert_eq!(super::summary(&letter.summary)["target"], "/a?…", "a list tells no query");
        let shown = details(&letter);
        assert_eq!(shown["fields"][1], json!(["Cookie", "a=b"]));
        assert_eq!(STANDARD.decode(shown["head_base64"].as_str().expect("text")).expect("base64"), letter.head);
        assert_eq!(shown["body_base64"], "AP8=");
        assert_eq!((&shown["method"], &shown["target"]), (&json!("POST"), &json!("/a?b")));
        assert_eq!(
            shown["history"][0],
            json!({"at": "2023-11-14T22:13:21.000Z", "class": "http_5xx", "status": 503, "spared": false})
        );
        assert_eq!((&shown["answer"], &shown["replays"]), (&json!("busy"), &json!(2)));
    }
}
