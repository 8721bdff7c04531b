//! [`Pieces`]: buffers for what tasks encode, on their way to the keeper of checkpoints and back.

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::state::delta::Delta;

/// Encoded entries are handed to the keeper in pieces of about this size.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// What may come to a piece that is all but full; a longer value makes a buffer grow, which then is not kept.
const ROOM_BYTES: usize = 8 << 10;
/// Buffers that wait to be used again, of all tasks together: some 5 MiB.
const SPARE_MAX: usize = 64;

/// A stock of buffers, so that a checkpoint makes no executor ask the operating system for memory: fresh pages are
/// zeroed when they are touched, two megabytes at once where the system uses huge ones, which is a millisecond.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    give: Sender<Delta>,
    take: Receiver<Delta>,
}

impl Pieces {
    pub fn new() -> Self {
        let (give, take) = bounded(SPARE_MAX);
        Pieces { give, take }
    }

    /// An empty buffer. Allocates if there is none to spare.
    pub fn take(&self) -> Delta {
        self.take.try_recv().unwrap_or_else(|_| Delta::with_capacity(PIECE_BYTES + ROOM_BYTES))
    }

    /// Whoever has written a piece has no use for it any more.
    pub fn give_back(&self, mut piece: Delta) {
        if piece.capacity() <= PIECE_BYTES + ROOM_BYTES {
            piece.clear();
            // A full stock needs no more.
            let _ = self.give.try_send(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::state::delta::Space;

    #[test]
    fn buffers_come_back_empty_and_the_long_ones_do_not() {
        let pieces = Pieces::new();
        let mut piece = pieces.take();
        piece.put(Space(1), 0, |out| out.push(1), |out| out.push(2));
        let buffer = piece.bytes().as_ptr();
        pieces.give_back(piece);
        let mut again = pieces.take();
        assert!(again.is_empty() && again.bytes().as_ptr() == buffer);
        again.put(Space(1), 0, |out| out.push(1), |out| out.resize(1 << 20, 0));
        pieces.give_back(again);
        assert!(pieces.take.is_empty());
        (0..2 * SPARE_MAX).for_each(|_| pieces.give_back(Delta::default()));
        assert_eq!(pieces.take.len(), SPARE_MAX);
    }
}
