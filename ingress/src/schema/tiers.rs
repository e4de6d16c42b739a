//! Which tier decided, summed per request.

/// Events checked, by who decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tiers {
    /// The program over the tape: surely valid.
    pub tape: u64,
    /// The library, where the program was not sure.
    pub library: u64,
}
