//! The stack machine, cut down to what builds data.

use std::borrow::Cow;

use crate::arena::{CallNode, Id, Node};
use crate::{Pickle, PickleError, Policy, bounds, literal, opcode};

/// Reads the pickle at the start of `input`; bytes behind its STOP are left alone.
///
/// # Errors
/// See [`PickleError`]: everything that is not plain data, not allowed, malformed, or over a limit.
pub fn read<'a>(input: &'a [u8], policy: &Policy<'a>) -> Result<Pickle<'a>, PickleError> {
    read_from(input, 0, policy)
}

/// Reads the pickle that starts at byte `start`, for files that hold several in a row; offsets in errors are
/// those of `input`.
///
/// # Errors
/// As [`read`].
pub fn read_from<'a>(input: &'a [u8], start: usize, policy: &Policy<'a>) -> Result<Pickle<'a>, PickleError> {
    let mut machine = Machine {
        input,
        policy,
        start,
        at: start,
        code: 0,
        offset: start,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    let mut steps = 0;
    while !machine.step()? {
        steps += 1;
        if steps >= policy.limits.steps {
            return Err(machine.limit("opcodes", policy.limits.steps));
        }
    }
    let root = machine.pop()?;
    if !machine.stack.is_empty() || !machine.marks.is_empty() {
        return Err(machine.operand("one value in all", "more on the stack"));
    }
    bounds::check(&machine.nodes, root, &policy.limits, machine.at)?;
    Ok(Pickle { nodes: machine.nodes, root, end: machine.at })
}

/// A memo entry that was never stored.
const UNSTORED: Id = Id::MAX;

struct Machine<'a, 'p> {
    input: &'a [u8],
    policy: &'p Policy<'a>,
    start: usize,
    /// The next byte to read.
    at: usize,
    /// The opcode that runs.
    code: u8,
    /// Where it stands.
    offset: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at each open MARK.
    marks: Vec<usize>,
    memo: Vec<Id>,
}

type Outcome<T> = Result<T, PickleError>;

impl<'a> Machine<'a, '_> {
    /// Runs one opcode. True at STOP.
    fn step(&mut self) -> Outcome<bool> {
        self.offset = self.at;
        self.code = match self.input.get(self.at) {
            Some(&code) => code,
            None => {
                let offset = self.at.min(self.input.len());
                return Err(PickleError::Truncated { opcode: "an opcode", offset, needed: 1, found: 0 });
            }
        };
        self.at += 1;
        match self.code {
            b'.' => return Ok(true),
            0x80 => self.protocol()?,
            0x95 => {
                self.take(8)?;
            }
            b'(' => {
                if self.marks.len() >= self.policy.limits.stack {
                    return Err(self.limit("open marks", self.policy.limits.stack));
                }
                self.marks.push(self.stack.len());
            }

            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'K' | b'M' | b'J' => {
                let value = match self.code {
                    b'K' => i64::from(self.array::<1>()?[0]),
                    b'M' => i64::from(u16::from_le_bytes(self.array()?)),
                    _ => i64::from(i32::from_le_bytes(self.array()?)),
                };
                self.push(Node::Int(value))?;
            }
            b'I' => {
                let node = match self.line()? {
                    b"00" => Some(Node::Bool(false)),
                    b"01" => Some(Node::Bool(true)),
                    line => literal::integer(line).map(Node::Int),
                };
                self.push_literal(node, "a decimal integer of 64 bits")?;
            }
            b'L' => {
                let node = literal::integer(self.line()?).map(Node::Int);
                self.push_literal(node, "a decimal integer of 64 bits")?;
            }
            0x8a => {
                let size = self.array::<1>()?[0];
                self.long(u64::from(size))?;
            }
            b'F' => {
                let node = literal::float(self.line()?).map(Node::Float);
                self.push_literal(node, "a decimal float")?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(value))?;
            }
            b'S' => {
                let node = literal::string(self.line()?).map(Node::Bytes);
                self.push_literal(node, "a quoted string")?;
            }
            b'V' => {
                let node = literal::unicode(self.line()?).map(Node::Text);
                self.push_literal(node, "raw-unicode-escape text")?;
            }
            b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => {
                let bytes = self.counted()?;
                self.push(Node::Bytes(Cow::Borrowed(bytes)))?;
            }
            b'X' | 0x8c | 0x8d => {
                let text = std::str::from_utf8(self.counted()?).ok();
                self.push_literal(text.map(|text| Node::Text(Cow::Borrowed(text))), "UTF-8")?;
            }

            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b')' => self.push(Node::Tuple(Box::default()))?,
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(self.code - 0x84))?;
                self.push(Node::Tuple(items.into()))?;
            }
            b't' | b'l' => {
                let items = self.pop_mark()?;
                self.push(if self.code == b't' { Node::Tuple(items.into()) } else { Node::List(items) })?;
            }
            b'd' => {
                let pairs = self.pop_pairs()?;
                self.push(Node::Dict(pairs))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let pairs = self.pop_pairs()?;
                self.set(pairs)?;
            }

            b'p' | b'q' | b'r' | 0x94 => {
                let index = if self.code == 0x94 { self.memo.len() } else { self.memo_index()? };
                self.store(index)?;
            }
            b'g' | b'h' | b'j' => {
                let index = self.memo_index()?;
                match self.memo.get(index) {
                    Some(&id) if id != UNSTORED => self.push_id(id)?,
                    _ => {
                        let (opcode, offset) = (self.name(), self.offset);
                        return Err(PickleError::Memo { opcode, offset, index });
                    }
                }
            }

            b'c' | 0x93 => self.global()?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                self.push(Node::Persistent(id))?;
            }
            code => {
                return Err(PickleError::OpcodeRefused { opcode: self.name(), code, offset: self.offset });
            }
        }
        Ok(false)
    }

    fn protocol(&mut self) -> Outcome<()> {
        match self.array::<1>()?[0] {
            0..=5 => Ok(()),
            _ => Err(self.literal("a protocol from 0 to 5")),
        }
    }

    fn long(&mut self, size: u64) -> Outcome<()> {
        let bytes = self.take(size)?;
        let node = if bytes.len() > 8 {
            Node::Long(bytes)
        } else {
            let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [sign; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        };
        self.push(node)
    }

    fn global(&mut self) -> Outcome<()> {
        let (module, name) = if self.code == b'c' {
            let [module, name] = [self.line()?, self.line()?].map(String::from_utf8_lossy);
            (module, name)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (&self.nodes[module as usize], &self.nodes[name as usize]) {
                (Node::Text(module), Node::Text(name)) => (module.clone(), name.clone()),
                (Node::Text(_), other) | (other, _) => {
                    return Err(self.operand("a module and a name as text", other.kind()));
                }
            }
        };
        match self.policy.globals.iter().find(|&&(m, n)| m == module && n == name) {
            Some(&(module, name)) => self.push(Node::Global { module, name }),
            None => {
                let [module, name] = [module, name].map(|s| s.escape_debug().take(100).collect());
                Err(PickleError::GlobalRefused { opcode: self.name(), offset: self.offset, module, name })
            }
        }
    }

    fn call(&mut self) -> Outcome<()> {
        let (args, global) = (self.pop()?, self.pop()?);
        match (&self.nodes[global as usize], &self.nodes[args as usize]) {
            (Node::Global { .. }, Node::Tuple(_)) => {
                let call = CallNode { global, args, state: None, appended: Vec::new(), pairs: Vec::new() };
                self.push(Node::Call(Box::new(call)))
            }
            (Node::Global { .. }, other) | (other, _) => {
                Err(self.operand("a global and a tuple of arguments", other.kind()))
            }
        }
    }

    fn build(&mut self) -> Outcome<()> {
        let state = self.pop()?;
        let target = self.top()?;
        match &mut self.nodes[target as usize] {
            Node::Call(call) if call.state.is_none() => {
                call.state = Some(state);
                Ok(())
            }
            other => {
                let found = other.kind();
                Err(self.operand("a call without a state", found))
            }
        }
    }

    fn append(&mut self, mut items: Vec<Id>) -> Outcome<()> {
        let target = self.top()?;
        match &mut self.nodes[target as usize] {
            Node::List(list) => list.append(&mut items),
            Node::Call(call) => call.appended.append(&mut items),
            other => {
                let found = other.kind();
                return Err(self.operand("a list", found));
            }
        }
        Ok(())
    }

    fn set(&mut self, mut pairs: Vec<(Id, Id)>) -> Outcome<()> {
        let target = self.top()?;
        match &mut self.nodes[target as usize] {
            Node::Dict(dict) => dict.append(&mut pairs),
            Node::Call(call) => call.pairs.append(&mut pairs),
            other => {
                let found = other.kind();
                return Err(self.operand("a dict", found));
            }
        }
        Ok(())
    }

    fn memo_index(&mut self) -> Outcome<usize> {
        match self.code {
            b'p' | b'g' => {
                let index = literal::integer(self.line()?).and_then(|i| usize::try_from(i).ok());
                index.ok_or_else(|| self.literal("a memo index"))
            }
            b'q' | b'h' => Ok(usize::from(self.array::<1>()?[0])),
            _ => Ok(u32::from_le_bytes(self.array()?) as usize),
        }
    }

    fn store(&mut self, index: usize) -> Outcome<()> {
        let id = self.top()?;
        if index >= self.policy.limits.memo {
            return Err(self.limit("memo entries", self.policy.limits.memo));
        }
        if index >= self.memo.len() {
            self.memo.resize(index + 1, UNSTORED);
        }
        self.memo[index] = id;
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) -> Outcome<()> {
        if self.nodes.len() >= self.policy.limits.values.min(UNSTORED as usize) {
            return Err(self.limit("values", self.policy.limits.values));
        }
        self.nodes.push(node);
        self.push_id((self.nodes.len() - 1) as Id)
    }

    fn push_literal(&mut self, node: Option<Node<'a>>, expected: &'static str) -> Outcome<()> {
        match node {
            Some(node) => self.push(node),
            None => Err(self.literal(expected)),
        }
    }

    fn push_id(&mut self, id: Id) -> Outcome<()> {
        if self.stack.len() >= self.policy.limits.stack {
            return Err(self.limit("values on the stack", self.policy.limits.stack));
        }
        self.stack.push(id);
        Ok(())
    }

    /// The height that values may be taken down to: that of the last open MARK.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Outcome<Id> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(self.operand("a value", "an empty stack")),
        }
    }

    fn pop(&mut self) -> Outcome<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_many(&mut self, count: usize) -> Outcome<Vec<Id>> {
        match self.stack.len().checked_sub(count) {
            Some(height) if height >= self.floor() => Ok(self.stack.split_off(height)),
            _ => Err(self.operand("as many values as its name says", "fewer on the stack")),
        }
    }

    fn pop_mark(&mut self) -> Outcome<Vec<Id>> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => Err(self.operand("an open MARK", "none")),
        }
    }

    fn pop_pairs(&mut self) -> Outcome<Vec<(Id, Id)>> {
        let items = self.pop_mark()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if rest.is_empty() {
            Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
        } else {
            Err(self.operand("keys and values in pairs", "a key without a value"))
        }
    }

    /// The bytes behind a length of one, four or eight bytes.
    fn counted(&mut self) -> Outcome<&'a [u8]> {
        let size = match self.code {
            b'U' | b'C' | 0x8c => u64::from(self.array::<1>()?[0]),
            0x8d | 0x8e | 0x96 => u64::from_le_bytes(self.array()?),
            _ => u64::from(u32::from_le_bytes(self.array()?)),
        };
        self.take(size)
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn take(&mut self, needed: u64) -> Outcome<&'a [u8]> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        match usize::try_from(needed).ok().and_then(|n| rest.split_at_checked(n)) {
            Some((taken, _)) => self.advance(taken, taken.len()),
            None => Err(self.truncated(needed, rest.len())),
        }
    }

    /// The bytes up to the end of the line, without it.
    fn line(&mut self) -> Outcome<&'a [u8]> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        match rest.iter().position(|&b| b == b'\n') {
            Some(end) => {
                let line = &rest[..end];
                self.advance(line.strip_suffix(b"\r").unwrap_or(line), end + 1)
            }
            None => Err(self.truncated(rest.len() as u64 + 1, rest.len())),
        }
    }

    fn advance(&mut self, taken: &'a [u8], by: usize) -> Outcome<&'a [u8]> {
        self.at += by;
        if self.at - self.start > self.policy.limits.bytes {
            return Err(self.limit("bytes", self.policy.limits.bytes));
        }
        Ok(taken)
    }

    fn name(&self) -> &'static str {
        opcode::name(self.code)
    }

    fn truncated(&self, needed: u64, found: usize) -> PickleError {
        PickleError::Truncated { opcode: self.name(), offset: self.offset, needed, found }
    }

    fn operand(&self, expected: &'static str, found: &'static str) -> PickleError {
        PickleError::Operand { opcode: self.name(), offset: self.offset, expected, found }
    }

    fn literal(&self, expected: &'static str) -> PickleError {
        PickleError::Literal { opcode: self.name(), offset: self.offset, expected }
    }

    fn limit(&self, what: &'static str, limit: usize) -> PickleError {
        PickleError::Limit { what, limit: limit as u64, offset: self.offset }
    }
}
