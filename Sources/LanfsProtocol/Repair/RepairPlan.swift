/// Which copies this server makes (B5).
///
/// It goes through its own blocks page by page and asks the others which of them they hold. Where one of the block's
/// targets has none, the first live holder in rank copies; the next one does when that one has had its time and the
/// block is still found missing. So nobody has to agree with anybody, and a holder that is broken, or lies, only costs
/// time. A copy too many is a surplus that `SurplusDrop` sees to.
public struct RepairPlan: Sendable {
    public struct Options: Sendable {
        /// Bytes a second, and at once.
        public var rate: UInt64 = 32 << 20
        public var burst: UInt64 = 32 << 20
        /// Blocks of one page; at most `HoldingsQuery.limit`.
        public var pageSize = HoldingsQuery.limit
        /// Blocks known to lack copies, and as many whose turn it is not yet.
        public var queueLimit = 4096
        /// Copies on their way at once: small ones take as long as large ones, most of it for the disk.
        public var copyLimit = 64
        /// Their bytes, once there is one.
        public var copyBytes = 8 << 20
        /// Between two passes over all blocks when nothing happens.
        public var passInterval: Duration = .seconds(3600)
        /// From the start of a pass to the next, whatever happens: flapping members do not make it go round and round.
        public var shortestPass: Duration = .seconds(60)
        /// How long a holder has before the next in rank does its work.
        public var patience: Duration = .seconds(600)
        /// A question without an answer is asked again after this, three times in all.
        public var answerTime: Duration = .seconds(2)
        /// A copy without an answer has failed after this.
        public var copyTime: Duration = .seconds(60)
        /// Whether blocks that have R copies, but not on their targets, are moved there, after all others. `false`
        /// where a new server shall not fill up from the old ones.
        public var movesMisplaced = true

        public init() {}
    }

    public enum Effect: Equatable, Sendable {
        /// Call `listed` with up to `limit` of this server's live blocks that follow, in id order. Not those in
        /// quarantine (G7), nor those that are not on disk yet (B2).
        case list(after: BlockID?, limit: Int)
        case ask(ServerID, HoldingsQuery)
        /// Send a `CopyOrder` with the tag that the block has now; `finished` when it is answered. If it is gone or in
        /// quarantine meanwhile, send nothing: `.failed`.
        case copy(BlockID, to: ServerID)
        /// The copy is needed no more: break it off if it is still on its way.
        case cancel(BlockID, to: ServerID)
    }

    private struct Flight: Sendable {
        var entry: RepairQueue.Entry
        var target: ServerID
        var deadline: Duration
    }

    private let options: Options
    private var view: MemberView
    private var bucket: TokenBucket
    private var queue: RepairQueue
    /// What others make before this server, if they do.
    private var later: RepairQueue
    private var flights: [Flight] = []
    private var scan: RepairScan?
    private var isListing = false
    /// Gone since the page that is gone through was asked for, which may still name them.
    private var goneSinceListing: Set<BlockID> = []
    private var cursor: BlockID?
    /// Going once more through blocks for which the queue had no room, until it is full again.
    private var isResuming = false
    private var pageNumber: UInt64 = 0
    /// Something changed since the pass under way began.
    private var isOwed = false
    private var passStart: Duration
    private var nextPass: Duration
    private var ticked: Duration

    public init(view: MemberView, options: Options = Options(), now: Duration) {
        self.view = view
        self.options = options
        bucket = TokenBucket(rate: options.rate, burst: options.burst, now: now)
        queue = RepairQueue(limit: options.queueLimit)
        later = RepairQueue(limit: options.queueLimit)
        passStart = now
        nextPass = now
        ticked = now
    }

    /// Blocks that wait for this server, and copies on their way: bounded by the options. What is another's turn is
    /// that one's to count.
    public var waiting: Int { queue.entries.count + later.entries.count { turn(of: $0) <= ticked } }
    public var copying: Int { flights.count }
    /// How much waits is not known.
    public var isLooking: Bool { hasChanged || queue.leftOut != nil || isResuming }
    /// Since the last pass over all blocks that is over.
    private var hasChanged = true

    /// After every change of `Health`. A member that came back takes its place again at once: what was to be copied in
    /// its stead is not.
    public mutating func update(_ next: MemberView, now: Duration) -> [Effect] {
        guard next.generation != view.generation else { return [] }
        let previous = view
        view = next
        guard next.replaces(previous) else { return [] }
        // Another configuration is a person's doing, and rare.
        startPassSoon(now)
        if next.config.version != previous.config.version { nextPass = now }
        queue.revise { $0.missing = $0.missing.filter(next.targets(of: $0.block).contains) }
        later.revise { $0.missing = $0.missing.filter(next.targets(of: $0.block).contains) }
        var effects: [Effect] = []
        for index in flights.indices.reversed() {
            // What else its block lacks is asked for again when this copy is done.
            let targets = next.targets(of: flights[index].entry.block)
            flights[index].entry.missing.removeAll { !targets.contains($0) }
            guard !targets.contains(flights[index].target) else { continue }
            let flight = flights.remove(at: index)
            effects.append(.cancel(flight.entry.block, to: flight.target))
        }
        return effects
    }

    /// At least every second, after `Health.tick` and `update`. No copy begins later than two seconds after it: a
    /// process that was stopped finds old answers waiting, and would act on them by what it thought of the others before.
    public mutating func tick(now: Duration) -> [Effect] {
        ticked = now
        let overdue = flights.filter { $0.deadline <= now }
        var effects: [Effect] = overdue.map { .cancel($0.entry.block, to: $0.target) }
        for flight in overdue { effects += finished(flight.entry.block, target: flight.target, .failed, now: now) }

        // Those before this server had their time: whether the copies are still missing only a pass tells.
        if later.entries.contains(where: { turn(of: $0) <= now }) { startPassSoon(now) }
        if scan == nil, !isListing, now >= nextPass {
            passStart = now
            nextPass = now + options.passInterval
            queue.leftOut = nil
            isResuming = false
            isOwed = false
            cursor = nil
            effects.append(list())
        }
        if var page = scan, now - page.asked >= options.answerTime {
            if page.tries < 3 {
                page.askAgain(now: now)
                effects += page.waiting.map { .ask($0, page.query) }
            } else {
                page.giveUp()
            }
            scan = page
            effects += finishPage(now)
        }
        return effects + dispatch(now)
    }

    /// The answer to `.list`; none left: the pass is over.
    public mutating func listed(_ blocks: [StoredBlock], now: Duration) -> [Effect] {
        guard isListing else { return [] }
        isListing = false
        guard let last = blocks.last else {
            if !isResuming { hasChanged = isOwed }
            isResuming = false
            return dispatch(now)
        }
        let after = cursor ?? .zero
        cursor = last.block
        pageNumber += 1
        let page = RepairScan(number: pageNumber, after: after, blocks: blocks, asking: view.askable, now: now)
        scan = page
        return page.waiting.map { .ask($0, page.query) } + finishPage(now)
    }

    public mutating func answered(_ answer: HoldingsAnswer, from member: ServerID, now: Duration) -> [Effect] {
        scan?.take(answer, from: member)
        return finishPage(now) + dispatch(now)
    }

    /// What became of a copy. A failure is tried again when the next pass finds it.
    public mutating func finished(
        _ block: BlockID, target: ServerID, _ outcome: CopyOutcome, now: Duration
    ) -> [Effect] {
        guard let index = flights.firstIndex(where: { $0.entry.block == block && $0.target == target }) else {
            return []
        }
        var entry = flights.remove(at: index).entry
        switch outcome {
        case .stored, .present:
            entry.copies += 1
            entry.missing.removeAll { $0 == target }
            if !entry.missing.isEmpty { queue.put(entry) }
        case .swept:
            break
        case .failed:
            startPassSoon(now)
        }
        return dispatch(now)
    }

    /// The block was freed, swept, quarantined or dropped here: it is no longer this server's to copy.
    public mutating func withdraw(_ block: BlockID) -> [Effect] {
        queue.remove(block)
        later.remove(block)
        if isListing || scan != nil { goneSinceListing.insert(block) }
        let gone = flights.filter { $0.entry.block == block }
        flights.removeAll { $0.entry.block == block }
        return gone.map { .cancel(block, to: $0.target) }
    }

    // MARK: Finding

    private mutating func list() -> Effect {
        isListing = true
        goneSinceListing = []
        return .list(after: cursor, limit: min(max(1, options.pageSize), HoldingsQuery.limit))
    }

    private mutating func startPassSoon(_ now: Duration) {
        isOwed = true
        hasChanged = true
        nextPass = min(nextPass, max(now, passStart + options.shortestPass))
    }

    private mutating func finishPage(_ now: Duration) -> [Effect] {
        guard let page = scan, page.isComplete else { return [] }
        scan = nil
        for index in page.blocks.indices { judge(page.blocks[index], index, page, now) }
        if isResuming, queue.leftOut != nil {
            isResuming = false
            return []
        }
        return [list()]
    }

    /// A queue that is empty while blocks wait that it had no room for would be time lost until the next pass.
    private mutating func resume() -> [Effect] {
        guard scan == nil, !isListing, let page = queue.leftOut, queue.hasRoom else { return [] }
        queue.leftOut = nil
        isResuming = true
        cursor = page == .zero ? nil : page
        return [list()]
    }

    private mutating func judge(_ stored: StoredBlock, _ index: Int, _ page: RepairScan, _ now: Duration) {
        let block = stored.block
        guard !goneSinceListing.contains(block), !flights.contains(where: { $0.entry.block == block }) else { return }
        var holders = [view.server]
        var without: [ServerID] = []
        for (member, answer) in page.answers {
            if answer.holds(index) { holders.append(member) } else { without.append(member) }
        }
        let copies = holders.count { view.counts($0) }
        let missing = view.targets(of: block).filter { without.contains($0) }
        guard !missing.isEmpty, options.movesMisplaced || copies < view.placement.replicas,
            let turn = view.sources(of: block, holders: holders).firstIndex(of: view.server)
        else {
            queue.remove(block)
            later.remove(block)
            return
        }
        let entry = RepairQueue.Entry(
            block: block, length: Int(stored.length), copies: copies, missing: missing,
            found: (queue[block] ?? later[block])?.found ?? now, turn: turn, page: page.after)
        // Those behind in the line need the word of a pass from after the others' time that it is still missing.
        if self.turn(of: entry) <= now {
            later.remove(block)
            queue.put(entry)
        } else {
            queue.remove(block)
            later.put(entry)
        }
    }

    // MARK: Copying

    private mutating func dispatch(_ now: Duration) -> [Effect] {
        guard now - ticked <= .seconds(2) else { return [] }
        var effects = resume()
        var index = 0
        var bytes = flights.reduce(0) { $0 + $1.entry.length }
        while flights.count < options.copyLimit, bytes < options.copyBytes, index < queue.entries.count {
            let entry = queue.entries[index]
            guard let target = entry.missing.first(where: { view.health(of: $0) == .alive }) else {
                index += 1
                continue
            }
            // What has more copies does not go ahead of it because it is shorter.
            guard bucket.take(entry.length, now: now) else { break }
            queue.remove(entry.block)
            bytes += entry.length
            flights.append(Flight(entry: entry, target: target, deadline: now + options.copyTime))
            effects.append(.copy(entry.block, to: target))
        }
        return effects
    }

    private func turn(of entry: RepairQueue.Entry) -> Duration { entry.found + options.patience * entry.turn }
}
