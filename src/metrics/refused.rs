//! Why a request was refused: the closed set behind the label `reason`.

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedReason {
    /// Not HTTP as RFC 9112 has it.
    Malformed,
    /// A control header is wrong.
    ControlHeader,
    /// It brings no token that is known.
    Unauthorized,
    /// Neither an origin nor one of our own paths.
    NoOrigin,
    /// Head or body not complete in time.
    Timeout,
    /// Body over its bound, or the message longer than a segment can hold.
    BodyTooLarge,
    /// Target over its bound.
    TargetTooLong,
    /// Head over its bound, or too many fields.
    HeadTooLarge,
    /// A method, coding or upgrade we do not offer.
    Unsupported,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// Sent to this daemon itself.
    Loop,
    /// Sent where messages may not go.
    Denied,
    /// Memory for messages on their way to the disk is used up.
    Memory,
    /// More requests than the core can serve.
    Overload,
    /// As many connections as may be, and none idle.
    Connections,
    /// Stopping.
    Draining,
    /// No log space.
    LogFull,
    /// The origin's share of the log is used up.
    OriginShare,
    /// The log cannot be written.
    LogFailed,
}

impl RefusedReason {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 19] = [
        Self::Malformed,
        Self::ControlHeader,
        Self::Unauthorized,
        Self::NoOrigin,
        Self::Timeout,
        Self::BodyTooLarge,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::Unsupported,
        Self::Version,
        Self::Loop,
        Self::Denied,
        Self::Memory,
        Self::Overload,
        Self::Connections,
        Self::Draining,
        Self::LogFull,
        Self::OriginShare,
        Self::LogFailed,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::ControlHeader => "control_header",
            Self::Unauthorized => "unauthorized",
            Self::NoOrigin => "no_origin",
            Self::Timeout => "timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::Unsupported => "unsupported",
            Self::Version => "version",
            Self::Loop => "loop",
            Self::Denied => "denied",
            Self::Memory => "memory",
            Self::Overload => "overload",
            Self::Connections => "connections",
            Self::Draining => "draining",
            Self::LogFull => "log_full",
            Self::OriginShare => "origin_share",
            Self::LogFailed => "log_failed",
        }
    }
}
