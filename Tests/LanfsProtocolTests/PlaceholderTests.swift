import Testing
@testable import LanfsProtocol
@Test func placeholder() { #expect(1 + 1 == 2) }
