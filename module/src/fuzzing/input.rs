//! The bytes of an input, which choose what happens.

/// What is left of an input. After its end, all choices are the first one.
pub(super) struct Input<'d>(&'d [u8]);

impl<'d> Input<'d> {
    pub(super) fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Returns a number below this one, or 0.
    pub(super) fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()).checked_rem(most).unwrap_or(0)
    }

    /// Returns one of several values.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Returns true once in eight times.
    pub(super) fn rarely(&mut self) -> bool {
        self.byte() % 8 == 7
    }

    /// Returns up to 255 bytes of the input.
    pub(super) fn bytes(&mut self) -> &'d [u8] {
        let size = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(size);
        self.0 = rest;
        bytes
    }
}
