import Synchronization

/// What several clients did to one thing, and when: to be checked against a sequential model of it.
///
/// The search is that of Wing and Gong, "Testing and verifying concurrent objects" (1993), with the memory of visited states that
/// Lowe added (2017).
struct History<Model: SequentialModel>: Sendable {
    struct Operation: Sendable {
        let client: Int
        let action: Model.Action
        let start: ContinuousClock.Instant
        /// `nil`: what became of it is not known. It may have been done at any time since, or not at all.
        let end: ContinuousClock.Instant?
    }

    private(set) var operations: [Operation] = []

    mutating func remove(where isNoMatter: (Operation) -> Bool) { operations.removeAll(where: isNoMatter) }

    mutating func add(_ operation: Operation) { operations.append(operation) }

    /// An order in which one after the other could have done all this is there; else the first operation that fits nowhere.
    func contradiction() -> Operation? {
        let operations = operations.sorted { $0.start < $1.start }
        var furthest = 0
        var seen: Set<Configuration> = []
        var stack = [Configuration(state: Model(), done: [], next: 0)]
        while let configuration = stack.popLast() {
            // All that ended is done.
            let open = (configuration.next..<operations.count).filter { !configuration.done.contains($0) }
            let isOver = open.allSatisfy { operations[$0].end == nil }
            if isOver { return nil }
            furthest = max(furthest, configuration.next)
            // What may come next began before the first of the others ended.
            let firstEnd = open.lazy.compactMap { operations[$0].end }.min()
            for index in open {
                if let firstEnd, operations[index].start > firstEnd { break }
                var state = configuration.state
                guard state.step(operations[index].action) else { continue }
                let next = configuration.after(index, state)
                if seen.insert(next).inserted { stack.append(next) }
            }
        }
        return operations[furthest]
    }

    private struct Configuration: Hashable {
        var state: Model
        /// Beyond `next`.
        var done: Set<Int>
        /// All before it are done.
        var next: Int

        func after(_ index: Int, _ state: Model) -> Configuration {
            var after = Configuration(state: state, done: done, next: next)
            after.done.insert(index)
            while after.done.remove(after.next) != nil { after.next += 1 }
            return after
        }
    }
}

/// What one thing is, when one operation comes after the other.
protocol SequentialModel: Hashable, Sendable {
    associatedtype Action: Sendable
    init()
    /// Whether the operation, with what it answered, can come now.
    mutating func step(_ action: Action) -> Bool
}

/// A file that is written and read whole.
struct RegisterModel: SequentialModel {
    enum Action: Sendable { case write(Int), read(Int) }

    private var value = 0

    mutating func step(_ action: Action) -> Bool {
        switch action {
        case .write(let value):
            self.value = value
            return true
        case .read(let value): return self.value == value
        }
    }
}

/// A name that is made and removed; each of these succeeded.
struct NameModel: SequentialModel {
    enum Action: Sendable { case made, removed }

    private var isThere = false

    mutating func step(_ action: Action) -> Bool {
        guard isThere == (action == .removed) else { return false }
        isThere.toggle()
        return true
    }
}

/// A number that grows by one under a lock, and what each client found there.
struct CounterModel: SequentialModel {
    typealias Action = Int

    private var value = 0

    mutating func step(_ found: Int) -> Bool {
        guard found == value else { return false }
        value += 1
        return true
    }
}

/// Histories of many things, noted by many threads.
final class Recorder<Model: SequentialModel>: Sendable {
    private let histories = Mutex<[Int: History<Model>]>([:])

    func note(_ key: Int, _ operation: History<Model>.Operation) {
        histories.withLock { $0[key, default: History()].add(operation) }
    }

    func change(_ body: (inout History<Model>) -> Void) {
        histories.withLock { histories in
            for key in histories.keys { body(&histories[key, default: History()]) }
        }
    }

    var count: Int { histories.withLock { $0.values.reduce(0) { $0 + $1.operations.count } } }

    func requireLinearizable(_ what: String) throws {
        for (key, history) in histories.withLock({ $0 }) {
            guard let bad = history.contradiction() else { continue }
            let near = history.operations.filter { operation in
                operation.start < bad.start + .seconds(1) && (operation.end.map { $0 > bad.start - .seconds(3) } ?? true)
            }
            let lines = near.sorted { $0.start < $1.start }.map { operation in
                "client \(operation.client) \(operation.action): \(operation.start - bad.start) to \(operation.end.map { "\($0 - bad.start)" } ?? "?")"
            }
            throw Failure("\(what) \(key): no order explains client \(bad.client) \(bad.action)\n\(lines.joined(separator: "\n"))")
        }
    }
}
