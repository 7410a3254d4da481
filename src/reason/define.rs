//! The macro that defines the reasons, the list of them and their rows from one table.

/// Generates the enum, the list and the rows from one table.
macro_rules! reasons {
    ($(
        $(#[$about:meta])+
        $name:ident = $status:literal, $code:literal, $challenge:ident, $title:literal $(, issuer.$field:ident)?;
    )+) => {
        /// The reason for denying a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$about])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the checks.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the row of the reason.
            #[must_use]
            pub fn row(self) -> Row {
                let (status, code, challenge, title) = match self {
                    $(Self::$name => ($status, $code, Challenge::$challenge, $title),)+
                };
                Row { code, status, title, challenge }
            }

            /// Returns the field of the issuer that led to the denial. Empty if no single field of an issuer did.
            pub(crate) fn issuer_field(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($(stringify!($field))?),)+
                }
            }
        }
    };
}

pub(super) use reasons;
