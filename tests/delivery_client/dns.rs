//! A name server on a port of its own that says what a test wants, and records what it is asked.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SOA;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What the server does with a question.
#[derive(Clone)]
pub enum Say {
    /// Addresses of the kind that is asked for, and a TTL in seconds.
    Addresses(&'static [&'static str], u32),
    /// There is no such name, for so many seconds.
    NoSuchName(u32),
    /// It cannot tell.
    Fail,
    /// Nothing.
    Silence,
    /// The same, later.
    After(Duration, &'static [&'static str]),
}

type Decide = Rc<RefCell<Box<dyn Fn(&str, RecordType) -> Say>>>;

/// Answers over UDP until it is dropped.
pub struct Dns {
    pub port: u16,
    decide: Decide,
    asked: Rc<RefCell<Vec<(String, RecordType)>>>,
    answering: JoinHandle<()>,
}

impl Dns {
    /// Says the same to every question.
    pub async fn saying(say: Say) -> Self {
        let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = socket.local_addr().unwrap().port();
        let decide: Decide = Rc::new(RefCell::new(Box::new(move |_, _| say.clone())));
        let asked = Rc::new(RefCell::new(Vec::new()));
        let (deciding, recording) = (Rc::clone(&decide), Rc::clone(&asked));
        let answering = tokio::task::spawn_local(async move {
            let (mut buffer, mut ids) = ([0; 1500], HashSet::new());
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let (name, kind) = (question.queries[0].name().to_ascii(), question.queries[0].query_type());
                // One that is asked again because the answer is slow is the same question.
                if ids.insert(question.metadata.id) {
                    recording.borrow_mut().push((name.clone(), kind));
                }
                let say = (deciding.borrow())(&name, kind);
                let socket = Rc::clone(&socket);
                tokio::task::spawn_local(async move {
                    if let Say::After(wait, _) = say {
                        tokio::time::sleep(wait).await;
                    }
                    if let Some(answer) = answer(question, &say) {
                        let _ = socket.send_to(&answer, from).await;
                    }
                });
            }
        });
        Self { port, decide, asked, answering }
    }

    /// Says so from now on.
    pub fn say(&self, decide: impl Fn(&str, RecordType) -> Say + 'static) {
        *self.decide.borrow_mut() = Box::new(decide);
    }

    /// The names that it was asked for addresses of this kind, in order.
    pub fn asked(&self, kind: RecordType) -> Vec<String> {
        self.asked.borrow().iter().filter(|(_, of)| *of == kind).map(|(name, _)| name.clone()).collect()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

fn answer(question: Message, say: &Say) -> Option<Vec<u8>> {
    let query = question.queries[0].clone();
    let mut answer = question.into_response();
    let (addresses, ttl) = match say {
        Say::Addresses(addresses, ttl) => (*addresses, *ttl),
        Say::After(_, addresses) => (*addresses, 60),
        Say::Silence => return None,
        Say::Fail => {
            answer.metadata.response_code = ResponseCode::ServFail;
            (&[][..], 0)
        }
        Say::NoSuchName(ttl) => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            (&[][..], *ttl)
        }
    };
    for address in addresses {
        let data = match address.parse().unwrap() {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        };
        if data.record_type() == query.query_type() {
            answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
        }
    }
    if answer.answers.is_empty() {
        let minimum = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, ttl);
        answer.add_authority(Record::from_rdata(Name::root(), ttl, RData::SOA(minimum)));
    }
    Some(answer.to_vec().unwrap())
}
