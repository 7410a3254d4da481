//! Panics that a request or a test asks for, to show what a defect costs. Never part of a release.

#[cfg(feature = "panic-on-purpose")]
pub(crate) use stream::Asked;

#[cfg(feature = "panic-on-purpose")]
mod stream {
    use std::cell::Cell;

    use callgate::host::LATER_PANICS;

    use crate::abi;
    use crate::io::Io;

    /// The hook in which a stream panics, if the header `x-panic-on-purpose` of its request names one. The code for all gateways has the panic
    /// in the hook for the headers of the request.
    #[derive(Default)]
    pub(crate) struct Asked(Cell<Option<&'static str>>);

    impl Asked {
        /// Reads the header.
        pub(crate) fn read(&self, io: &Io) {
            let find = |value: Option<&[u8]>| {
                LATER_PANICS.into_iter().find(|hook| value.is_some_and(|value| value == hook.as_bytes()))
            };
            self.0.set(io.value(abi::REQUEST_HEADERS, b"x-panic-on-purpose", find).ok().flatten());
        }

        /// Panics once, if the request asks for it in this hook.
        pub(crate) fn panic_in(&self, hook: &str) {
            let is_asked = self.0.get() == Some(hook);
            if is_asked {
                self.0.set(None);
            }
            assert!(!is_asked, "on purpose");
        }
    }
}

/// Panics in the hooks of configurations, which no request can ask for.
#[cfg(test)]
pub(crate) mod configuration {
    use std::cell::Cell;

    thread_local! {
        /// The hook in which this thread panics next.
        static ASKED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Lets the next call of a hook on this thread panic.
    pub(crate) fn ask(hook: &'static str) {
        ASKED.set(Some(hook));
    }

    /// Panics once, if a test asks for it in this hook.
    pub(crate) fn panic_in(hook: &str) {
        let is_asked = ASKED.get() == Some(hook);
        if is_asked {
            ASKED.set(None);
        }
        assert!(!is_asked, "on purpose");
    }
}
