//! Answers that are remembered for a moment.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use runtime::lock::lock;
use tokio::time::Instant;

/// Remembers answers for a fixed time, and no more than a fixed number of them.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    life: Duration,
    max: usize,
    answers: Mutex<Answers<K, V>>,
}

#[derive(Debug)]
struct Answers<K, V> {
    by_key: HashMap<K, (Instant, V)>,
    /// The keys in the order in which they end.
    ends: VecDeque<(Instant, K)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(life: Duration, max: usize) -> Self {
        let answers = Answers { by_key: HashMap::new(), ends: VecDeque::new() };
        Self { life, max, answers: Mutex::new(answers) }
    }

    /// The answer, while it is fresh.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let answers = lock(&self.answers);
        answers.by_key.get(key).filter(|(end, _)| *end > Instant::now()).map(|(_, value)| value.clone())
    }

    /// Remembers an answer. Where there is no room, the oldest gives way.
    pub(super) fn put(&self, key: K, value: V) {
        let now = Instant::now();
        let end = now + self.life;
        let mut answers = lock(&self.answers);
        while let Some((oldest, _)) = answers.ends.front()
            && (*oldest <= now || answers.ends.len() >= self.max)
        {
            let Some((end, key)) = answers.ends.pop_front() else { break };
            // It may have been put again since, with a later end.
            if answers.by_key.get(&key).is_some_and(|(newest, _)| *newest == end) {
                answers.by_key.remove(&key);
            }
        }
        answers.ends.push_back((end, key.clone()));
        answers.by_key.insert(key, (end, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_forgotten_after_its_life() {
        let recent = Recent::new(LIFE, 10);
        recent.put("a", 1);
        tokio::time::advance(LIFE / 2).await;
        recent.put("a", 2);
        tokio::time::advance(LIFE / 2).await;
        recent.put("b", 3);
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(2), Some(3)), "the later end counts");
        tokio::time::advance(LIFE / 2).await;
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (None, Some(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_answer_gives_way_where_there_is_no_room() {
        let recent = Recent::new(LIFE, 3);
        for number in 0..100 {
            recent.put(number, number);
        }
        let kept: Vec<i32> = (0..100).filter(|number| recent.get(number).is_some()).collect();
        assert_eq!(kept, [97, 98, 99]);
        assert_eq!(lock(&recent.answers).by_key.len(), 3);
    }
}
