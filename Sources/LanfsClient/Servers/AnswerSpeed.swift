import Glibc

/// How fast a server has answered reads lately.
struct AnswerSpeed {
    /// However slow a server has been, another copy is asked after this.
    private static let patience = Duration.milliseconds(400)
    /// What is known of a server counts half as much after so long without an answer: or one that was slow once would never
    /// be asked again.
    private static let memory = 5.0

    /// Before the first answer: none is waited for long, and each server gets its chance.
    private var usual = Duration.milliseconds(1)
    private var endedAt = ContinuousClock.now
    private var underWay = 0

    /// Grows with what is under way, so that many reads at once spread over the copies.
    var expected: Duration {
        usual / exp2((ContinuousClock.now - endedAt) / .seconds(1) / Self.memory) * (underWay + 1)
    }
    var late: Duration { min(max(usual * 4, .milliseconds(50)), Self.patience) }

    mutating func began() { underWay += 1 }

    mutating func ended(after time: Duration) {
        underWay -= 1
        usual = (usual * 7 + time) / 8
        endedAt = .now
    }
}
