import Testing

@Suite("Histories")
struct HistoryTests {
    private let start = ContinuousClock.now

    private func register(_ operations: [(RegisterModel.Action, Int, Int?)]) -> History<RegisterModel> {
        var history = History<RegisterModel>()
        for (action, from, to) in operations {
            history.add(
                .init(client: 0, action: action, start: start + .seconds(from), end: to.map { start + .seconds($0) }))
        }
        return history
    }

    @Test("that one after the other could have made are accepted")
    func good() {
        #expect(register([(.write(1), 0, 1), (.read(1), 2, 3)]).contradiction() == nil)
        // While it is written either may be read.
        #expect(register([(.write(1), 0, 9), (.read(0), 1, 2), (.read(1), 3, 4), (.read(1), 5, 6)]).contradiction() == nil)
        // What became of it is not known: it may come late, or never.
        #expect(register([(.write(1), 0, nil), (.read(0), 5, 6), (.read(1), 7, 8)]).contradiction() == nil)
        #expect(register([(.write(1), 0, nil), (.write(2), 1, 2), (.read(2), 7, 8)]).contradiction() == nil)
        // Of two that may have done the same one did, or both.
        let twice: [(RegisterModel.Action, Int, Int?)] = [(.write(1), 0, nil), (.write(1), 3, nil), (.write(2), 4, 5)]
        #expect(register(twice + [(.read(1), 1, 2), (.read(1), 7, 8)]).contradiction() == nil)
        #expect(register(twice + [(.read(2), 7, 8), (.read(1), 9, 10), (.read(1), 11, 12)]).contradiction() == nil)
    }

    @Test("that nobody can have made are not")
    func bad() {
        #expect(register([(.write(1), 0, 1), (.read(0), 2, 3)]).contradiction() != nil)
        // Back and forth.
        #expect(register([(.write(1), 0, 9), (.read(1), 1, 2), (.read(0), 3, 4)]).contradiction() != nil)
        #expect(register([(.write(1), 0, 1), (.write(2), 2, 3), (.read(1), 4, 5)]).contradiction() != nil)
        #expect(register([(.write(1), 0, nil), (.read(2), 5, 6)]).contradiction() != nil)
        // Before it began.
        #expect(register([(.write(1), 3, nil), (.read(1), 1, 2)]).contradiction() != nil)
        #expect(
            register([(.write(1), 0, nil), (.write(2), 2, 3), (.read(1), 4, 5), (.write(2), 6, 7), (.read(1), 8, 9)]).contradiction()
                != nil)

        var names = History<NameModel>()
        for _ in 0..<2 { names.add(.init(client: 0, action: .made, start: start, end: start + .seconds(1))) }
        #expect(names.contradiction() != nil)
        var counter = History<CounterModel>()
        for _ in 0..<2 { counter.add(.init(client: 0, action: 0, start: start, end: start + .seconds(1))) }
        #expect(counter.contradiction() != nil)
    }
}
