//! Messages of EIP-191, version 0x45 (`personal_sign`): only such as a template describes in full.
//!
//! A text that a person or a wallet would sign unread is an order to somebody. So the one template
//! is EIP-4361 (Sign-In with Ethereum), read line by line as its grammar has it; any other text is
//! not signed, whatever the book says.

use alloy_primitives::{Address, keccak256};

use crate::id::{ChainId, Digest};
use crate::time::Millis;

/// A message of EIP-4361.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignIn {
    text: String,
    domain: String,
    address: Address,
    chain: ChainId,
    issued: Millis,
    expires: Option<Millis>,
    statement: Option<String>,
}

/// Why a text is no message that could be signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageFault {
    /// More than [`MESSAGE_BYTES_MAX`].
    #[error("the message is larger than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    /// Something else than printable ASCII and line feeds.
    #[error("the message holds something else than printable ASCII: only EIP-4361 is signed")]
    NotText,
    /// Not the template.
    #[error("not a message of EIP-4361: {0}")]
    NotSignIn(Line),
    /// Signed for one site while another is named.
    #[error("the URI is not https:// and the domain that asks")]
    OtherOrigin,
    /// An address in another form.
    #[error("the address must be written with its EIP-55 checksum")]
    Address,
    /// No chain that a transaction could be on.
    #[error("the chain id must be a number from 1 to 2^53 - 1")]
    Chain,
    /// Not a time of RFC 3339.
    #[error("a time must be written as 2026-01-31T12:00:00Z (RFC 3339)")]
    Time,
    /// Resources hand out capabilities (EIP-5573).
    #[error("the message lists resources, which can hand out rights: they are not understood")]
    Resources,
}

/// A line that the template has and the text has not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Line {
    /// The first.
    Greeting,
    /// The blank lines around the statement.
    Statement,
    /// `URI: `.
    Uri,
    /// `Version: 1`.
    Version,
    /// `Chain ID: `.
    ChainId,
    /// `Nonce: `.
    Nonce,
    /// `Issued At: `.
    IssuedAt,
    /// Something after the last line there can be.
    End,
}

impl std::fmt::Display for Line {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Greeting => {
                "it begins with \"DOMAIN wants you to sign in with your Ethereum account:\""
            }
            Self::Statement => "after the address come a blank line, a statement, a blank line",
            Self::Uri => "a line \"URI: \" is missing",
            Self::Version => "a line \"Version: 1\" is missing",
            Self::ChainId => "a line \"Chain ID: \" is missing",
            Self::Nonce => "a line \"Nonce: \" with at least 8 letters or digits is missing",
            Self::IssuedAt => "a line \"Issued At: \" is missing",
            Self::End => "a line follows that its grammar does not have there",
        })
    }
}

impl MessageFault {
    /// The stable reason, as in `ErrorInfo.reason`.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "MESSAGE_TOO_LARGE",
            Self::NotText | Self::NotSignIn(_) => "MESSAGE_NOT_EIP4361",
            Self::OtherOrigin => "MESSAGE_OTHER_ORIGIN",
            Self::Address => "MESSAGE_BAD_ADDRESS",
            Self::Chain => "MESSAGE_BAD_CHAIN",
            Self::Time => "MESSAGE_BAD_TIME",
            Self::Resources => "MESSAGE_WITH_RESOURCES",
        }
    }
}

impl SignIn {
    /// Reads a message, line by line (EIP-4361, "ABNF Message Format").
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(text: &[u8]) -> Result<Self, MessageFault> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(MessageFault::TooLarge);
        }
        let printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n');
        let text =
            std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| printable(&b)));
        let text = text.ok_or(MessageFault::NotText)?;
        let mut lines = text.split('\n').peekable();
        let mut next = || lines.next();
        let missing = MessageFault::NotSignIn;
        let domain = next().and_then(|line| line.strip_suffix(GREETING));
        let domain = domain.map(|domain| domain.strip_prefix("https://").unwrap_or(domain));
        let domain = domain.filter(|domain| is_authority(domain));
        let domain = domain.ok_or(missing(Line::Greeting))?;
        let address = next().and_then(checksummed).ok_or(MessageFault::Address)?;
        blank(next())?;
        let statement = next().ok_or(missing(Line::Statement))?;
        let statement = if statement.is_empty() {
            None
        } else {
            blank(next())?;
            Some(statement.to_owned())
        };
        let uri = field(next(), "URI: ", Line::Uri)?;
        if !is_on(uri, domain) {
            return Err(MessageFault::OtherOrigin);
        }
        if next() != Some("Version: 1") {
            return Err(missing(Line::Version));
        }
        let chain = chain(field(next(), "Chain ID: ", Line::ChainId)?)?;
        let nonce = field(next(), "Nonce: ", Line::Nonce)?;
        if nonce.len() < 8 || !nonce.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(missing(Line::Nonce));
        }
        let issued = field(next(), "Issued At: ", Line::IssuedAt)?;
        let issued = rfc3339(issued).ok_or(MessageFault::Time)?;
        let rest: Vec<&str> = lines.collect();
        let expires = tail(&rest)?;
        let (text, domain) = (text.to_owned(), domain.to_owned());
        Ok(Self { text, domain, address, chain, issued, expires, statement })
    }

    /// The text as it came, without the prefix of EIP-191.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The site that asks: host, and port if one is named.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The account that signs in.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The chain on which it does.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// When it was written, as the writer says.
    pub fn issued(&self) -> Millis {
        self.issued
    }

    /// When it stops being good. `None`: never.
    pub fn expires(&self) -> Option<Millis> {
        self.expires
    }

    /// What it tells people.
    pub fn statement(&self) -> Option<&str> {
        self.statement.as_deref()
    }

    /// Keccak-256 of the prefixed text (EIP-191, version 0x45).
    pub fn digest(&self) -> Digest {
        let prefix = format!("\x19Ethereum Signed Message:\n{}", self.text.len());
        keccak256([prefix.as_bytes(), self.text.as_bytes()].concat())
    }
}

/// The optional lines, in their order. Gives when the message expires.
fn tail(lines: &[&str]) -> Result<Option<Millis>, MessageFault> {
    let mut rest = lines;
    let mut take = |prefix: &str| {
        let (first, after) = rest.split_first()?;
        let value = first.strip_prefix(prefix)?;
        rest = after;
        Some(value)
    };
    let time = |text: &str| rfc3339(text).ok_or(MessageFault::Time);
    let expires = take("Expiration Time: ").map(time).transpose()?;
    take("Not Before: ").map(time).transpose()?;
    take("Request ID: ");
    match rest.first() {
        None => Ok(expires),
        Some(&"Resources:") => Err(MessageFault::Resources),
        Some(_) => Err(MessageFault::NotSignIn(Line::End)),
    }
}

fn blank(line: Option<&str>) -> Result<(), MessageFault> {
    let blank = line == Some("");
    if blank { Ok(()) } else { Err(MessageFault::NotSignIn(Line::Statement)) }
}

fn field<'l>(line: Option<&'l str>, prefix: &str, which: Line) -> Result<&'l str, MessageFault> {
    let value = line.and_then(|line| line.strip_prefix(prefix));
    value.ok_or(MessageFault::NotSignIn(which))
}

/// Host and perhaps port (RFC 3986), without user: what a person reads as the name of a site.
pub fn is_authority(text: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':')
    };
    !text.is_empty() && text.len() <= 253 && text.bytes().all(plain)
}

fn is_on(uri: &str, domain: &str) -> bool {
    let rest = uri.strip_prefix("https://").and_then(|rest| rest.strip_prefix(domain));
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
    rest.is_some_and(ends) && !uri.contains(' ')
}

fn checksummed(text: &str) -> Option<Address> {
    let address: Address = text.parse().ok()?;
    (address.to_checksum(None) == text).then_some(address)
}

fn chain(text: &str) -> Result<ChainId, MessageFault> {
    let id = crate::money::parse_decimal(text).and_then(|id| u64::try_from(id.units()).ok());
    id.filter(|id| (1..1 << 53).contains(id)).map(ChainId).ok_or(MessageFault::Chain)
}

/// `2026-01-31T12:00:00.123Z`, or with `+01:00` for `Z`; fractions beyond milliseconds are cut.
fn rfc3339(text: &str) -> Option<Millis> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<i64>().ok()).flatten()
    };
    let sign = |at: usize, byte: u8| text.as_bytes().get(at) == Some(&byte);
    let shaped =
        sign(4, b'-') && sign(7, b'-') && sign(10, b'T') && sign(13, b':') && sign(16, b':');
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let days = days_since_1970(year, month, day)?;
    let in_range = hour < 24 && minute < 60 && second < 60;
    let rest = text.get(19..).filter(|_| shaped && in_range)?;
    let (millis, rest) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let end = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (digits, rest) = rest.split_at_checked(end).filter(|_| (1..=9).contains(&end))?;
            let digits: String = digits.chars().chain("000".chars()).take(3).collect();
            (digits.parse::<i64>().ok()?, rest)
        }
    };
    let offset = offset_minutes(rest)?;
    let minutes = days.checked_mul(1_440)?.checked_add(hour.checked_mul(60)?)?;
    let minutes = minutes.checked_add(minute)?.checked_sub(offset)?;
    let seconds = minutes.checked_mul(60)?.checked_add(second)?;
    u64::try_from(seconds.checked_mul(1_000)?.checked_add(millis)?).ok().map(Millis)
}

/// A time as [`rfc3339`] reads it, to the second.
pub(crate) fn format_time(time: Millis) -> String {
    let seconds = time.0 / 1_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut month) = (1970_i64, 1_i64);
    let first_day = |year, month| days_since_1970(year, month, 1).unwrap_or(i64::MAX);
    let days = i64::try_from(days).unwrap_or(i64::MAX);
    while year < 9_999 && first_day(year.saturating_add(1), 1) <= days {
        year = year.saturating_add(1);
    }
    while month < 12 && first_day(year, month.saturating_add(1)) <= days {
        month = month.saturating_add(1);
    }
    let day = days.saturating_sub(first_day(year, month)).saturating_add(1);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn offset_minutes(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, clock) = text.split_at_checked(1)?;
    let (hours, minutes) = clock.split_once(':')?;
    let number = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let offset = hours.checked_mul(60)?.checked_add(minutes)?;
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        "+" => Some(offset),
        "-" => offset.checked_neg(),
        _ => None,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. `None` if there is no such day, or
/// before 1970.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    let length = *lengths.get(month)?;
    if year < 1970 || !(1..=length).contains(&day) {
        return None;
    }
    let before = year.checked_sub(1)?;
    // Leap days from year 1 through the year before, less those before 1970.
    let leaps = (before / 4).checked_sub(before / 100)?.checked_add(before / 400)?;
    let of_years = year.checked_sub(1970)?.checked_mul(365)?.checked_add(leaps)?;
    let of_months: i64 = lengths.iter().take(month).sum();
    of_years.checked_sub(477)?.checked_add(of_months)?.checked_add(day)?.checked_sub(1)
}

const GREETING: &str = " wants you to sign in with your Ethereum account:";

/// Longest message: what people could be shown.
pub const MESSAGE_BYTES_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    const LOGIN: &str = "service.org wants you to sign in with your Ethereum account:\n\
        0xe5A12547fe4E872D192E3eCecb76F2Ce1aeA4946\n\n\
        I accept the ServiceOrg Terms of Service: https://service.org/tos\n\n\
        URI: https://service.org/login\nVersion: 1\nChain ID: 1\nNonce: 32891757\n\
        Issued At: 2021-09-30T16:25:24.000Z";

    fn decode(text: &str) -> Result<SignIn, MessageFault> {
        SignIn::decode(text.as_bytes())
    }

    #[test]
    fn a_message_of_the_template_is_read_in_full() {
        let with = format!(
            "{LOGIN}\nExpiration Time: 2021-09-30T17:25:24Z\nNot Before: \
                            2021-09-30T16:25:24Z\nRequest ID: 7"
        );
        let login = decode(&with).unwrap();
        assert_eq!(login.domain(), "service.org");
        assert_eq!(login.chain(), ChainId(1));
        assert_eq!(login.issued(), Millis(1_633_019_124_000));
        assert_eq!(login.expires(), Some(Millis(1_633_022_724_000)));
        let plain = LOGIN
            .replace("I accept the ServiceOrg Terms of Service: https://service.org/tos\n\n", "\n");
        assert_eq!(decode(&plain).unwrap().statement(), None);
        let https = format!("https://{LOGIN}");
        assert_eq!(decode(&https).unwrap().domain(), "service.org");
    }

    #[test]
    fn the_digest_is_that_of_personal_sign() {
        // Computed with ethers' hashMessage("hello world").
        let hello = SignIn { text: "hello world".into(), ..decode(LOGIN).unwrap() };
        let expected = "d9eba16ed0ecae432b71fe008c98cc872bb4cc214d3220a36f365326cf807d68";
        assert_eq!(hex::encode(hello.digest()), expected);
    }

    #[test]
    fn every_other_text_is_refused() {
        for (from, to) in [
            ("service.org wants", "service.org\nwants"),
            ("service.org wants", "Service.org wants"),
            ("service.org wants", "user@service.org wants"),
            ("service.org wants", "http://service.org wants"),
            ("0xe5A1", "0xe5a1"),
            ("URI: https://service.org/login", "URI: https://service.org.evil/login"),
            ("URI: https://service.org/login", "URI: http://service.org/login"),
            ("URI: https://service.org/login", "URI: https://service.org@evil/login"),
            ("Version: 1", "Version: 2"),
            ("Chain ID: 1", "Chain ID: 01"),
            ("Chain ID: 1", "Chain ID: 0"),
            ("Nonce: 32891757", "Nonce: 3289175"),
            ("2021-09-30T16", "2021-09-31T16"),
            ("2021-09-30T16", "2021-09-30 16"),
            ("2021-09-30T16", "2021-09-30T25"),
            ("24.000Z", "24.000"),
            ("24.000Z", "24.000Z\n"),
            ("24.000Z", "24.000Z\nResources:\n- urn:recap:x"),
            ("24.000Z", "24.000Z\nExpiration Time: soon"),
            ("24.000Z", "24.000Z\nSend: everything"),
            ("Terms", "Terms\nmore"),
            ("Terms", "Term\u{e9}s"),
            ("\n\nURI", "\nURI"),
        ] {
            let changed = LOGIN.replacen(from, to, 1);
            assert_ne!(changed, LOGIN, "{from}");
            assert!(decode(&changed).is_err(), "{from} -> {to}");
        }
        assert!(decode("").is_err());
        assert_eq!(decode(&"x".repeat(9_000)), Err(MessageFault::TooLarge));
    }

    #[test]
    fn times_are_read_as_the_calendar_has_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2024-12-31T23:59:59Z", 1_735_689_599),
            ("2025-01-01T01:00:00+01:00", 1_735_689_600),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("2026-11-24T10:50:00-00:30", 1_795_519_200),
        ] {
            assert_eq!(rfc3339(text), Some(Millis(seconds * 1_000)), "{text}");
            let again = format_time(Millis(seconds * 1_000));
            assert_eq!(rfc3339(&again), Some(Millis(seconds * 1_000)), "{again}");
        }
        for bad in ["2100-02-29T00:00:00Z", "1969-12-31T23:59:59Z", "2024-13-01T00:00:00Z"] {
            assert_eq!(rfc3339(bad), None, "{bad}");
        }
    }
}
