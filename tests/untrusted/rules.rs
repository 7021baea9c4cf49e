//! What requests are measured by: bounds small enough to be reached, and the defaults.

use std::sync::Arc;

use dispatcher::config::secret::Secret;
use dispatcher::ingress::control_fields::ControlRules;
use dispatcher::ingress::head::Rules;
use dispatcher::ingress::tokens::{Door, Tokens};
use dispatcher::message::Scheme;
use dispatcher::message::policy::Policy;
use dispatcher::reload::Publisher;
use dispatcher::time::Millis;

/// The port that the daemon itself listens on.
pub const OWN_PORT: u16 = 8080;
/// `MAX_TIMEOUT`, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 1_800_000;

/// The token that lets in, where one is asked for.
pub const TOKEN: &str = "0123456789abcdef";
/// The bit of a choice that asks for it.
const TOKEN_ASKED: u8 = 32;

/// Rules that this byte chooses.
pub fn rules(choice: u8) -> Rules {
    let head_bytes_max = [16 << 10, 256, 1024, 64 << 10][usize::from(choice) % 4];
    let body_bytes_max = [16 << 20, 100, 5000, 70_000][usize::from(choice >> 2) % 4];
    let control = ControlRules {
        origin_scheme: if choice & 16 == 0 { Scheme::Http } else { Scheme::Https },
        timeout_max: Millis(TIMEOUT_MS_MAX),
        own_port: OWN_PORT,
        own_scheme: Scheme::Http,
        is_own_address: |address| address.is_loopback(),
        policy: Policy::DEFAULT,
    };
    let door = if choice & TOKEN_ASKED == 0 {
        Door::OPEN
    } else {
        let token = Secret::token(TOKEN).expect("a token");
        Door::new(Publisher::new(Arc::new(Tokens::one(token))).subscribe())
    };
    Rules { control, door, head_bytes_max, body_bytes_max }
}
