//! The text literals of protocol 0: numbers and quoted strings on a line of their own.

use std::borrow::Cow;

/// A decimal integer; Python 2 writes an `L` behind a long.
pub(crate) fn integer(line: &[u8]) -> Option<i64> {
    std::str::from_utf8(line.strip_suffix(b"L").unwrap_or(line)).ok()?.parse().ok()
}

/// A decimal float, `nan` and `inf` too.
pub(crate) fn float(line: &[u8]) -> Option<f64> {
    std::str::from_utf8(line).ok()?.parse().ok()
}

/// The bytes of a quoted Python string with its backslash escapes.
pub(crate) fn string(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return None,
    };
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let [escape, tail @ ..] = rest else { return None };
        rest = tail;
        out.push(match escape {
            b'\\' | b'\'' | b'"' => *escape,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'x' => hex(&mut rest, 2)? as u8,
            _ => return None,
        });
    }
    Some(Cow::Owned(out))
}

/// The text of a raw-unicode-escape line: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(crate) fn unicode(line: &[u8]) -> Option<Cow<'_, str>> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return std::str::from_utf8(line).ok().map(Cow::Borrowed);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let digits = match (*byte, rest.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(char::from(*byte));
                continue;
            }
        };
        rest = rest.get(1..)?;
        out.push(char::from_u32(hex(&mut rest, digits)?)?);
    }
    Some(Cow::Owned(out))
}

fn hex(rest: &mut &[u8], digits: usize) -> Option<u32> {
    let (head, tail) = rest.split_at_checked(digits)?;
    *rest = tail;
    head.iter().try_fold(0u32, |n, &b| Some(n << 4 | char::from(b).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_python() {
        assert_eq!(string(br"'a\n\x00\\\''").as_deref(), Some(b"a\n\0\\'".as_slice()));
        assert_eq!(string(br"'\x4'"), None);
        assert_eq!(string(br"'open"), None);
        assert_eq!(string(b"'"), None);
        assert_eq!(unicode(b"\xe4\\u20ac\\n").as_deref(), Some("\u{e4}\u{20ac}\\n"));
        assert_eq!(unicode(br"\ud800"), None);
        assert_eq!(integer(b"-12L"), Some(-12));
        assert_eq!(integer(b"1 2"), None);
    }
}
