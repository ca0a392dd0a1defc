import Testing

@testable import PodNetwork

@Suite struct RepairScheduleTests {
  /// Holds a schedule, since an expectation cannot change a value.
  private final class Schedule {
    static let (delay, gap, longGap) = (RepairSchedule.delay, RepairSchedule.gap, RepairSchedule.longGap)
    static let (retry, period) = (RepairSchedule.retry, RepairSchedule.period)
    static let (tolerance, window) = (RepairSchedule.tolerance, RepairSchedule.window)
    private var schedule: RepairSchedule

    init(now: Duration) { schedule = RepairSchedule(now: now) }

    var deadline: Duration? { schedule.deadline }
    @discardableResult
    func doubt(_ scope: RepairSchedule.Scope, at now: Duration) -> Bool { schedule.doubt(scope, at: now) }
    func take(at now: Duration) -> RepairSchedule.Scope? { schedule.take(at: now) }
    func isContested(at now: Duration) -> Bool { schedule.isContested(at: now) }
    func finished(foundSomething: Bool, failed: RepairSchedule.Scope = [], at now: Duration) {
      schedule.finished(foundSomething: foundSomething, failed: failed, at: now)
    }
  }

  @Test func aBurstIsOneLook() {
    let schedule = Schedule(now: .zero)
    #expect(schedule.deadline == Schedule.period)
    #expect(schedule.doubt(.links, at: .seconds(1)))
    #expect(!schedule.doubt(.rules, at: .seconds(1.02)))
    #expect(schedule.take(at: .seconds(1.02)) == nil)
    #expect(schedule.deadline == .seconds(1) + Schedule.delay)
    #expect(schedule.take(at: .seconds(1.04)) == .all)
    // What comes during a look is looked at after it, not beside it.
    schedule.doubt(.links, at: .seconds(1.05))
    #expect(schedule.deadline == nil)
    #expect(schedule.take(at: .seconds(1.2)) == nil)
    schedule.finished(foundSomething: true, at: .seconds(1.2))
    #expect(schedule.deadline == .seconds(1.2) + Schedule.gap)
    #expect(schedule.take(at: .seconds(1.39)) == nil)
    #expect(schedule.take(at: .seconds(1.41)) == .links)
  }

  @Test func withoutAnyEventEverythingIsLookedAt() {
    let schedule = Schedule(now: .zero)
    #expect(schedule.take(at: .seconds(59)) == nil)
    #expect(schedule.take(at: .seconds(60)) == .all)
    schedule.finished(foundSomething: false, at: .seconds(60.01))
    #expect(schedule.deadline == .seconds(120))
  }

  @Test func aFailedLookIsTriedAgain() {
    let schedule = Schedule(now: .zero)
    schedule.doubt(.all, at: .seconds(1))
    #expect(schedule.take(at: .seconds(2)) == .all)
    schedule.finished(foundSomething: false, failed: .links, at: .seconds(2))
    #expect(schedule.deadline == .seconds(2) + Schedule.retry)
    #expect(schedule.take(at: .seconds(7)) == .links)
  }

  @Test func whoeverWorksAgainstUsSlowsUsDown() {
    let schedule = Schedule(now: .zero)
    var now = Duration.seconds(1)
    for count in 1...Schedule.tolerance {
      schedule.doubt(.links, at: now)
      now = max(now, schedule.deadline ?? now)
      #expect(schedule.take(at: now) == .links)
      schedule.finished(foundSomething: true, at: now)
      #expect(schedule.isContested(at: now) == (count == Schedule.tolerance))
    }
    #expect(now < .seconds(6), "until then each was quick")
    schedule.doubt(.links, at: now)
    #expect(schedule.deadline == now + Schedule.longGap)
    #expect(!schedule.isContested(at: now + Schedule.window))
  }
}
