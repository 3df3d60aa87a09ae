//! How much the ledger remembers, whatever callers ask: together less than 100 MB, and 45 MB when
//! nothing but plain payments was signed.

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Slots that are recognised.
    pub(super) slots: usize,
    /// And the bytes they take.
    pub(super) slot_bytes: usize,
    /// Charges of one account that are kept apart.
    pub(super) log: usize,
    /// Those of all accounts.
    pub(super) entries: usize,
    /// Recipients that are told apart.
    pub(super) recipients: usize,
    /// Charges to one of them that are kept apart.
    pub(super) recipient_log: usize,
    /// Those to all of them.
    pub(super) recipient_entries: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            slots: SLOTS_MAX,
            slot_bytes: SLOT_BYTES_MAX,
            log: LOG_ENTRIES_MAX,
            entries: ENTRIES_MAX,
            recipients: RECIPIENTS_MAX,
            recipient_log: RECIPIENT_ENTRIES_MAX,
            recipient_entries: RECIPIENTS_ENTRIES_MAX,
        }
    }
}

/// Slots that are recognised, over all keys: 100 bytes of tables each.
const SLOTS_MAX: usize = 200_000;

/// What they take besides, packed: a plain payment about 90, one to 32 recipients 600.
const SLOT_BYTES_MAX: usize = 24 << 20;

/// Charges of one account that are kept apart, 48 bytes each. Of more, half as many are left: at a
/// steady rate, older ones in stretches of about a hundredth of their age.
const LOG_ENTRIES_MAX: usize = 16_384;

/// Those of all accounts, and of all callers apart: 12 MB, or twice that while they grow. Beyond it
/// all are merged, to the same number each.
const ENTRIES_MAX: usize = 262_144;

/// But never to fewer than this: what is named in books may take what it takes.
pub(super) const LEAST_EACH: usize = 32;

/// Recipients that have sums of their own, over all keys and accounts: 300 bytes each. Where
/// windows per recipient are a day long, that is one new recipient every five seconds.
const RECIPIENTS_MAX: usize = 32_768;

/// Charges to one recipient that are kept apart: they are added up for every decision on it.
const RECIPIENT_ENTRIES_MAX: usize = 256;

/// Those to all recipients: 6 MB.
const RECIPIENTS_ENTRIES_MAX: usize = 131_072;
