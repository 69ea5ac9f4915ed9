/// Finds the word that a mistyped one was meant to be.
enum NearestWord {
    /// The candidate that takes the fewest slips (a letter added, left out, changed, or two swapped) to turn `word`
    /// into it; nil when even that one is too far to be meant. Of equals the first is taken.
    static func find(_ word: String, among candidates: [String]) -> String? {
        let typed = Array(word.utf8)
        // Longer than any word here by more than the slips allowed: nothing to compute, whatever a fuzzer sends.
        guard !typed.isEmpty, typed.count <= 64 else { return nil }
        var best: (slips: Int, word: String)?
        for candidate in candidates {
            let meant = Array(candidate.utf8)
            // `--server-name` for `--server`, `--quar` for `--quarantine`: one is the beginning of the other.
            let isBeginning = typed.count >= 3 && (meant.starts(with: typed) || typed.starts(with: meant))
            let slips = isBeginning ? 1 : distance(typed, meant)
            guard slips <= max(1, min(typed.count, meant.count) / 3) else { continue }
            if slips < best?.slips ?? .max { best = (slips, candidate) }
        }
        return best?.word
    }

    /// Optimal string alignment distance: insertions, deletions, changes and swaps of neighbours.
    static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforePrevious = [Int](repeating: 0, count: right.count + 1)
        var previous = Array(0...right.count)
        for (row, byte) in left.enumerated() {
            var current = [row + 1]
            current.reserveCapacity(right.count + 1)
            for (column, other) in right.enumerated() {
                var slips = min(
                    previous[column + 1] + 1, current[column] + 1, previous[column] + (byte == other ? 0 : 1))
                if row > 0, column > 0, byte == right[column - 1], left[row - 1] == other {
                    slips = min(slips, beforePrevious[column - 1] + 1)
                }
                current.append(slips)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[right.count]
    }

    /// `; did you mean 'word'?` or nothing, to end a message with.
    static func hint(_ word: String, among candidates: [String], prefix: String = "") -> String {
        find(word, among: candidates).map { "; did you mean '\(prefix)\($0)'?" } ?? ""
    }
}
