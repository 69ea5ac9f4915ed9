import Testing
@testable import LanfsServer
@Test func placeholder() { #expect(1 + 1 == 2) }
