"""Phrases that are put in the words the rules know: pattern and replacement, in this order."""

from __future__ import annotations

_END = r"(?= \||$)"
_THERE = r"(?:that|it|there|they|those|this)"
TOLD: tuple[str, ...] = (
    rf"and how (?:many|long|big|large|high) (?:(?P<noun>\w+) )?(?:were|was|is|are|did|does|do|have|has) {_THERE}"
    r"(?: (?:in (?:it|there|that \w+)|have|then))?",
    r"and how many (?:such |of (?:those|them) )?(?:(?P<noun>\w+) )?(?:are|were) there",
    rf"and how many (?:(?P<noun>\w+) )?(?:have|has|carry|share) {_THERE}(?: (?:estimate|value|number|many))?",
    r"and how many (?:(?P<noun>\w+) )?ha(?:s|ve) the (?:most common|most frequent|first|top|latter)(?: one)?",
    r"and how (?:many characters )?long is it",
    r"and by how (?:many|much)",
)
"""A second question at the end of one about the most or the average: its answer tells that anyway."""
_MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_NUMBER = r"(?:\d+|two|three|four|five|six|seven|eight|nine|ten)"
_LINKED = r"(?:commits?|check-?ins?|pull requests?|merge requests?|prs?|mrs?)"
_ISSUES = r"(?:issues?|tickets?|jiras?)"
_PAGES = r"pages?|documents?|docs?"
_NAMED = r"(?:linked to|tied to|attached to|referenced (?:by|in)|mentioned (?:by|in)|named (?:by|in)|cited (?:by|in))"
_BE = ((r"\b(?:is|are|was|were|have been|has been) ", "have"), (r"\b", "with"))
"""Before what a record is: a verb of the sentence, or a part of its subject."""
_SPELLING: tuple[tuple[str, str], ...] = (
    (r"\b(do|does|did|is|are|was|were|has|have|had)nt\b", r"\1n't"),
    (r"\b(do|does|did|is|are|was|were|has|have|had)n't\b", r"\1 not"),
    (rf"\b({_MONTHS}) '(\d\d)\b", r"\1 20\2"),
    (r"\b((?:19|20)\d\d)'s (commits?|check-?ins?|pull requests?|prs?)\b", r"\2 in \1"),
    (r", in percent ,", ""),
    (r"\bright (?=in the)", ""),
    (r"(?<!\S)(?:i\.e\.?|e\.g\.?|i mean)(?!\S)", ","),
    (r", in (?:characters|chars|letters) ,", ""),
    (r"\bzero (?=commits?|check-?ins?|pull requests?|prs?|issues?|tickets?)", "no "),
)
_LINKS: tuple[tuple[str, str], ...] = (
    (
        rf"\b(?:have |has )?never (?:got|had|have|has|get) (?:an?|a single) ({_LINKED})(?: (?:linked|attached))?(?: to (?:it|them))?",
        r"with no linked \1",
    ),
    (
        rf"\b({_LINKED}) (?:that (?:name|mention|reference|cite)s?|naming|referencing|citing) (?:it|them)\b",
        r"linked \1",
    ),
    (rf"\b(no|an?|any|some) ({_LINKED}) (?:linked|against (?:it|them))\b", r"\1 linked \2"),
    (rf"\bnever (?:show|come|turn)s? up in (?:an?|any) ({_LINKED})\b", r"with no linked \1"),
    (
        rf"\b(reference|name|mention|cite)(s?) ({_NUMBER} or more|at least \w+|more than \w+|exactly \w+) (?:issues|tickets)\b",
        r"\1\2 \3 issue keys",
    ),
    (
        rf"\b(?:is |are |was |were )?(?:named|referenced|mentioned|cited) (?:by|in) ({_NUMBER} or more|exactly \w+) ({_LINKED})",
        r"have \1 linked \2",
    ),
)
"""An issue's commits are what names it."""
_INBOUND: tuple[tuple[str, str], ...] = (
    (
        rf"\b(most|least)(?: often| frequently)?[ -]linked(?:[ -]to)? ({_PAGES})\b",
        r"\2 with the \1 inbound links",
    ),
    (rf"\borphan(?:ed)? ({_PAGES})\b", r"\1 with no inbound links"),
    (
        rf"\b({_PAGES}) (?:that |which |does |do |did )?(?:nothing|nobody|no one|no (?:other )?(?:{_PAGES})) links? to\b",
        r"\1 with no inbound links",
    ),
)
"""Pages by what links to them; `links` alone are those that a page makes."""
_QUESTIONS: tuple[tuple[str, str], ...] = (
    (
        r"\bwhat (?:do|does|did) (?:all )?(?:the )?([a-z ]+?) add up to" + _END,
        r"what is the total \1",
    ),
    (r"\b(commit|issue|ticket) counts?\b", r"number of \1s"),
    (
        r"\b(?:for|in) ((?:19|20)\d\d(?: , (?:19|20)\d\d)* ,? ?(?:and|or) (?:19|20)\d\d) (?:separately|respectively|each)\b",
        r"by year in \1",
    ),
    (
        r"\b(?:in |from |dated |made in )*((?:19|20)\d\d) (?:or|and) (?:later|after|newer|onwards?)\b",
        r"since \1",
    ),
    (
        r"\b(?:in |from |dated |made in )*((?:19|20)\d\d) (?:or|and) (?:earlier|before|older)\b",
        r"until \1",
    ),
    (r"\bdated (?=in |since |until |before |after |\d)", "made "),
    (
        r"^(?:among|of|out of) (?:the |all )*(\w+)( .*?)? , which (?:one |ones )?(ha(?:s|ve|d) .*)$",
        r"which \1 \3 \2",
    ),
    (r"\bdescription texts?\b", "description"),
    (
        rf"\b(?:(?:shows?|comes?|turns?) up|appears?|occurs?) (?=(?:across|in)(?: all| our| the)* {_LINKED})",
        "exist ",
    ),
    (
        r"^compare (?:the )?(.+?) (?:with|to|and|against) (?:those|the ones)(?: (?:that|which))? (?:don't|do not|have none)"
        + _END,
        r"\1 than-not",
    ),
    (
        r"\b(?:than|versus|vs\.?|and) (?:those|the ones)(?: (?:that|which))? (?:don't|do not|have none|without(?: any| one)?)(?= \||$| ,)",
        "than-not",
    ),
    (r"\bin each(?: group)?" + _END, ""),
    (
        r"\bhow (?:many characters |long )+is the (longest|shortest) (commit|issue|ticket|page)(?:'s)? (title|description|body)",
        r"what is the \1 \3 length of all \2s",
    ),
    (
        r"\blengths? of an? (commit|issue|ticket|page)(?:'s)? (title|description|body)",
        r"\2 length of all \1s",
    ),
    (
        r"\b(does|do|did) ((?:the (?:word|term|phrase) )?\S+) (?:show|come|turn|crop)s? up\b",
        r"is \2 mentioned",
    ),
    (r"\bwhat (?:do|does|did) (.+?) add up to in ([a-z ]+)", r"what is the total \2 of \1"),
    (r"\b(?:sum|add|tot) up (?:all )?(?:the )?", "total "),
    (r"\bhow much did (?:we|people|they|you) commit\b", "how many commits did we make"),
    (
        rf"\bwhen was (.+?) (first|last) mentioned in an? ({_LINKED}|{_ISSUES})",
        r"when was the \2 \3 that mentions \1",
    ),
    (
        r"\b(?:with|have|having|has|had) (?:the (?:word|term) )?(\S+) in (?:them|it)\b",
        r"that mention \1",
    ),
    (r"\bnothing in the (body|description)\b", r"without a \1"),
    (r"\b(?:for|in) each of the years\b", "by year in"),
    (r"\bdistinct (?=commits|issues|tickets)", ""),
)
REWRITES: tuple[tuple[str, str], ...] = (
    *_SPELLING,
    *_LINKS,
    *_INBOUND,
    *_QUESTIONS,
    (
        r"^compare (?:the )?(.+?) (?:with|to|against|and) (?:those|the ones|that)(?: of)? ",
        r"\1 than ",
    ),
    (r"\b(\w[\w.]*)-mentioning (\w+)", r"\2 that mention \1"),
    (
        r"\b((?:19|20)\d\d) (commits?|issues?|tickets?|pull requests?|prs?|check-?ins?|pages?)\b",
        r"\2 in \1",
    ),
    (r"\bdid (?:we|people|they|you) commit (?:the )?(most|least)\b", r"had the \1 commits"),
    (r"\bchanges committed\b|\bcommitted changes\b", "commits"),
    (r"\bover all (?:the |of the )?(?:years?|time)\b|\bof all time\b", ""),
    (r"\bvery (first|last|latest|earliest|newest|oldest)\b", r"\1"),
    (
        r"\b(?:the |on which |what )?dates? (?:of|was|is|did) (?=the (?:first|last|latest|earliest|newest|oldest|most recent)\b)",
        "when was ",
    ),
    (r"\bjira issue keys?\b|\bissue keys\b", "issue key"),
    # an issue's commits are what names it
    (
        rf"\b({_LINKED}) (?:linked|attached|tied|referring|pointing) to (?:it|them|the {_ISSUES})\b",
        r"linked \1",
    ),
    (r"\blinked linked\b", "linked"),
    *(
        (
            rf"{be}{no}{_NAMED}(?: an?| any| at least one|)? ({_LINKED})\b",
            rf"{has} no linked \1",
        )
        for be, has in _BE
        for no in (r"(?:not |never )",)
    ),
    *((rf"{be}{_NAMED} no ({_LINKED})\b", rf"{has} no linked \1") for be, has in _BE),
    *(
        (
            rf"{be}{_NAMED}( an?| any| some| at least \w+| more than \w+| exactly \w+|) ({_LINKED})\b",
            rf"{has}\1 linked \2",
        )
        for be, has in _BE
    ),
    (
        rf"\b({_ISSUES}\b[^|]*? (?:have|has|had|having|got|with|without|lack|lacking)(?: an?| any| no| at least one| at least \w+| more than \w+| some)?) ({_LINKED})(?! (?:that|which|from|made|mention|message))\b",
        r"\1 linked \2",
    ),
    (
        rf"\b((?:which|what) {_ISSUES} (?:has|have|had|got|with) the (?:most|fewest)) ({_LINKED})",
        r"\1 linked \2",
    ),
    (r"\b(?:compared (?:to|with)|versus|vs\.?)(?= )", "than"),
    (r"\bhow (?:long|big|large|high|low|old) (?:is|are|was|were) the\b", "what is the"),
    (r"\b(?:do not|don't|does not|doesn't|did not|didn't) have\b", "have not"),
    (r"\bwhat'?s\b", "what is"),
    (r"(?<!\S)(?:please|pls|plz|kindly)(?!\S)", " "),
    (r"\((?:both )?inclusive\)", " "),
    (r"(?<!\S)w/(?!\S)", "with"),
    (r"\bsince the (?:beginning|start) of\b", "since"),
    (r"\bsince the (?:beginning|start) (?=\d)", "since "),
    (
        r"\bthan (?:issues|tickets|commits|those|the ones)(?: that)? (?:mention(?:s|ing)?|about|with) ",
        "than ",
    ),
    (r"\b(start|begin|end)(s|ing)? with the word (q#\d+|\w+)", r"\1\2 with word~\3"),
    (r"\b(?:does|do|did) any (?=\w+ (?:mention|contain|have|refer))", "how many "),
    (r"\b(?:shows?|comes?|turns?) up\b|\bappears?\b|\boccurs?\b(?= in)", "is mentioned"),
    (r"\bin (title|summary|description|text)\b", r"in the \1"),
    (r"\bthe (?:keys?|ids?|titles?|names?) of (?=all|the|every)", ""),
    (r"(?<!\S)w/o(?!\S)", "without"),
    (r"\b(?:i'd|i would) (?:like|love) to (?:know|see)\b|\bi (?:want|need) to know\b", "tell"),
    (r"\b(?:can|could|would) you (?:please )?(?:tell|show|give|count)\b", "tell"),
    (r"\bbreak down (?:the |all )*(.+?) by ", r"number of \1 by "),
    (r"\bover all\b", "of all"),
    (r"\b(longer|shorter) (descriptions?) than\b", r"\2 \1 than"),
    (r"\bneither mentions?\b", "mention neither"),
    (r"\bmost active\b", "busiest"),
    (r"\bleast active\b", "quietest"),
)
