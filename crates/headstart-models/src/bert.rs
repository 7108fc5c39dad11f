//! BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019) and DistilBERT (Sanh et al. 2019) under the names of Hugging Face's
//! `BertModel`, `RobertaModel` and `DistilBertModel`: embeddings of words, positions and segments, blocks that normalise
//! last. The input is word ids, `[tokens]`; padding is seen by nothing.

use headstart_graph::{
    AddRows, Embedding, Graph, GraphBuilder, GraphError, Linears, NodeId, Op, Pooled, Smooth, TokenPool,
};

/// Whose names and positions an encoder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// BERT's: positions are counted from 0.
    Bert,
    /// RoBERTa's and XLM-RoBERTa's (Conneau et al. 2020): BERT's names, but positions are counted from the one behind that of
    /// padding, whose row is its id.
    Roberta,
    /// DistilBERT's: positions as BERT's, names of its own. Its checkpoints have neither segments nor a pooler.
    DistilBert,
}

/// The sizes of an encoder, as its `config.json` has them (in BERT's and RoBERTa's words).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bert {
    /// Whose names and positions it has.
    pub family: Family,
    /// Words of the vocabulary (`vocab_size`).
    pub words: usize,
    /// Rows of the position embeddings (`max_position_embeddings`).
    pub positions: usize,
    /// Segments (`type_vocab_size`), of which texts have the first; 0 where there are none.
    pub segments: usize,
    /// Features of a token (`hidden_size`).
    pub width: usize,
    /// Blocks (`num_hidden_layers`).
    pub blocks: usize,
    /// Heads of each block (`num_attention_heads`).
    pub heads: usize,
    /// Features between the two linear layers of a block (`intermediate_size`).
    pub inner: usize,
    /// Between them (`hidden_act`).
    pub activation: Smooth,
    /// Added to the variance (`layer_norm_eps`).
    pub eps: f64,
    /// The id of padding (`pad_token_id`).
    pub pad: u32,
}

/// The names of a block's nodes, behind the block's own. Those with parameters are the checkpoint's.
struct Names {
    /// The blocks, before their numbers.
    blocks: &'static str,
    /// The projections, and query, key and value in it.
    projections: (&'static str, [&'static str; 3]),
    attention: &'static str,
    /// The linear layer behind the attention, the sum and the norm.
    attended: [&'static str; 3],
    /// The first linear layer of the two, and the activation.
    inner: [&'static str; 2],
    /// The second, the sum and the norm.
    outer: [&'static str; 3],
}

impl Family {
    const fn names(self) -> Names {
        match self {
            Family::Bert | Family::Roberta => Names {
                blocks: "encoder.layer",
                projections: ("attention.self", ["query", "key", "value"]),
                attention: "attention",
                attended: ["attention.output.dense", "attention.output.add", "attention.output.LayerNorm"],
                inner: ["intermediate.dense", "intermediate.activation"],
                outer: ["output.dense", "output.add", "output.LayerNorm"],
            },
            Family::DistilBert => Names {
                blocks: "transformer.layer",
                projections: ("attention", ["q_lin", "k_lin", "v_lin"]),
                attention: "attention.heads",
                attended: ["attention.out_lin", "attention.add", "sa_layer_norm"],
                inner: ["ffn.lin1", "ffn.activation"],
                outer: ["ffn.lin2", "ffn.add", "output_layer_norm"],
            },
        }
    }
}

/// What the tokens of a text become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentence {
    /// They stay tokens: `[tokens, width]`.
    Tokens,
    /// The first one, `[CLS]` or `<s>`.
    First,
    /// Their mean, without padding, as sentence encoders have it.
    Mean,
    /// The first one through a linear layer and tanh (`pooler`).
    Pooler,
}

/// The layer that classifies sentences.
pub const CLASSIFIER: &str = "classifier";

const fn base(width: usize, blocks: usize, heads: usize) -> Bert {
    Bert {
        family: Family::Bert,
        words: 30_522,
        positions: 512,
        segments: 2,
        width,
        blocks,
        heads,
        inner: 4 * width,
        activation: Smooth::Gelu,
        eps: 1e-12,
        pad: 0,
    }
}

const fn roberta(words: usize, blocks: usize) -> Bert {
    let (family, positions, segments) = (Family::Roberta, 514, 1);
    Bert { family, words, positions, segments, eps: 1e-5, pad: 1, ..base(768, blocks, 12) }
}

/// Well-known encoders by name.
pub const ENCODERS: [(&str, Bert); 9] = [
    ("bert_tiny", base(128, 2, 2)),
    ("bert_base_uncased", base(768, 12, 12)),
    ("bert_base_cased", Bert { words: 28_996, ..base(768, 12, 12) }),
    ("all_minilm_l6_v2", base(384, 6, 12)),
    ("all_minilm_l12_v2", base(384, 12, 12)),
    ("distilbert_base_uncased", Bert { family: Family::DistilBert, segments: 0, ..base(768, 6, 12) }),
    ("roberta_base", roberta(50_265, 12)),
    ("all_distilroberta_v1", roberta(50_265, 6)),
    ("xlm_roberta_base", roberta(250_002, 12)),
];

impl Bert {
    /// The most tokens of a text: as many as there are positions for.
    pub fn longest(&self) -> usize {
        self.positions.saturating_sub(self.first_position())
    }

    /// The row of the first token among the position embeddings.
    fn first_position(&self) -> usize {
        match self.family {
            Family::Bert | Family::DistilBert => 0,
            Family::Roberta => self.pad as usize + 1,
        }
    }

    /// The network for texts of `tokens` ids, shorter ones filled with padding behind; stages `embeddings`,
    /// `encoder.layer.0` and on (DistilBERT: `transformer.layer.0`), `pool`.
    ///
    /// # Errors
    /// Where the sizes do not fit each other, or `tokens` is 0 or more than [`Bert::longest`].
    pub fn build(&self, tokens: usize, sentence: Sentence) -> Result<Graph, GraphError> {
        Ok(self.network(tokens, sentence)?.0.finish())
    }

    /// As [`Bert::build`], with a linear layer of `classes` outputs, [`CLASSIFIER`], behind the sentence, which is made of
    /// length 1 before where `normalize` says so.
    ///
    /// # Errors
    /// As [`Bert::build`].
    pub fn classifier(
        &self,
        tokens: usize,
        sentence: Sentence,
        normalize: bool,
        classes: usize,
    ) -> Result<Graph, GraphError> {
        let (mut b, mut x) = self.network(tokens, sentence)?;
        if normalize {
            x = b.add("normalize", Op::Normalize, &[x])?;
        }
        b.stage(CLASSIFIER);
        b.linear(CLASSIFIER, x, classes)?;
        Ok(b.finish())
    }

    fn network(&self, tokens: usize, sentence: Sentence) -> Result<(GraphBuilder, NodeId), GraphError> {
        let mut b = GraphBuilder::new([tokens]);
        let ids = b.input();
        b.stage("embeddings");
        let mask = b.add("attention_mask", Op::PadMask { pad: self.pad }, &[ids])?;
        let name = |part: &str| format!("embeddings.{part}");
        let words = Embedding { entries: self.words, features: self.width };
        let x = b.add(&name("word_embeddings"), Op::Embedding(words), &[ids])?;
        let rows = |entries: usize, first: usize, step: usize| {
            Op::AddRows(AddRows { entries, features: self.width, first, step, whole: false })
        };
        let positions = rows(self.positions, self.first_position(), 1);
        let mut x = b.add(&name("position_embeddings"), positions, &[x])?;
        if self.segments > 0 {
            x = b.add(&name("token_type_embeddings"), rows(self.segments, 0, 0), &[x])?;
        }
        let mut x = b.layer_norm(&name("LayerNorm"), x, self.eps)?;
        let names = self.family.names();
        for i in 0..self.blocks {
            let name = format!("{}.{i}", names.blocks);
            b.stage(&name);
            x = self.block(&mut b, &names, &name, x, mask)?;
        }
        b.stage("pool");
        let pool = |pooled| match pooled {
            Pooled::First => (Op::TokenPool(TokenPool { pooled, mask: false }), vec![x]),
            Pooled::Mean => (Op::TokenPool(TokenPool { pooled, mask: true }), vec![x, mask]),
        };
        let (op, inputs) = match sentence {
            Sentence::Tokens => return Ok((b, x)),
            Sentence::First | Sentence::Pooler => pool(Pooled::First),
            Sentence::Mean => pool(Pooled::Mean),
        };
        let mut x = b.add("pool", op, &inputs)?;
        if sentence == Sentence::Pooler {
            x = b.linear("pooler.dense", x, self.width)?;
            x = b.smooth("pooler.activation", x, Smooth::Tanh)?;
        }
        Ok((b, x))
    }

    fn block(
        &self,
        b: &mut GraphBuilder,
        names: &Names,
        block: &str,
        x: NodeId,
        mask: NodeId,
    ) -> Result<NodeId, GraphError> {
        let name = |part: &str| format!("{block}.{part}");
        let (projections, parts) = names.projections;
        let parts = parts.map(String::from).to_vec();
        let joint = Linears { in_features: self.width, out_features: self.width, parts };
        let y = b.add(&name(projections), Op::Linears(joint), &[x])?;
        let y = b.attention(&name(names.attention), y, self.heads, Some(mask))?;
        // A linear layer back to the width, added to what went in, and the norm of that.
        let add = |b: &mut GraphBuilder, [linear, sum, norm]: [&str; 3], y: NodeId, x: NodeId| {
            let y = b.linear(&name(linear), y, self.width)?;
            let x = b.add(&name(sum), Op::Add, &[y, x])?;
            b.layer_norm(&name(norm), x, self.eps)
        };
        let x = add(b, names.attended, y, x)?;
        let [linear, activation] = names.inner;
        let y = b.linear(&name(linear), x, self.inner)?;
        let y = b.smooth(&name(activation), y, self.activation)?;
        add(b, names.outer, y, x)
    }
}
